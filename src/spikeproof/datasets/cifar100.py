"""CIFAR-100: 50,000 + 10,000 colour photographs, 32x32, fine labels (Krizhevsky, 2009), from the binary version.

Address and digest are the publisher's. The publisher states no licence. The test part is the official one.
"""
from typing import Literal

from .cifar import CifarDataset
from .images import ImageOptions
from .sources import Archive, Remote

__all__ = ["Cifar100"]

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Cifar100(CifarDataset):
    """Colour photographs, 32x32 pixels, 100 classes."""
    class Options(ImageOptions):
        kind: Literal["cifar100"]

    FOLDER, LABEL_BYTES, CLASSES = "cifar100", 2, 100        # a coarse label, then the fine one
    ARCHIVE = Archive((Remote("cifar-100-binary.tar.gz", ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",), PAGE,
                              md5="03b5dce01913d631647c71ecec9e9cb8", size=168513733),), "cifar-100-binary")
    FILES = {"train": ["train.bin"], "test": ["test.bin"]}
    ABOUT = {"name": "CIFAR-100", "source": f"{PAGE} (Krizhevsky 2009)", "licence": "none stated by the publisher"}
