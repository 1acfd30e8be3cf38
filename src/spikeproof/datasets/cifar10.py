"""CIFAR-10: 50,000 + 10,000 colour photographs, 32x32 (Krizhevsky, 2009), from the binary version.

Address and digest are the publisher's. The publisher states no licence. The test part is the official one.
"""
from typing import Literal

from .cifar import CifarDataset
from .images import ImageOptions
from .sources import Archive, Remote

__all__ = ["Cifar10"]

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Cifar10(CifarDataset):
    """Colour photographs, 32x32 pixels, 10 classes."""
    class Options(ImageOptions):
        kind: Literal["cifar10"]

    FOLDER, LABEL_BYTES, CLASSES = "cifar10", 1, 10
    ARCHIVE = Archive((Remote("cifar-10-binary.tar.gz", ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",), PAGE,
                              md5="c32a1d4ab5d03f1284b67883e8d87530", size=170052171),), "cifar-10-batches-bin")
    FILES = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
    ABOUT = {"name": "CIFAR-10", "source": f"{PAGE} (Krizhevsky 2009)", "licence": "none stated by the publisher"}
