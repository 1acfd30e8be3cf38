"""Fashion-MNIST: 60,000 + 10,000 photographs of clothes, 28x28, 256 grey levels (Xiao, Rasul and Vollgraf, 2017).

Four gzipped IDX files; addresses and digests are those of the publisher's README. Licence: MIT, (c) 2017 Zalando SE. The test
part is the official one.
"""
from typing import Literal

from .idx import IdxDataset, remotes
from .images import ImageOptions

__all__ = ["FashionMnist"]

PAGE = "https://github.com/zalandoresearch/fashion-mnist"
MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
           "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/")


class FashionMnist(IdxDataset):
    """Photographs of clothes, 28x28 pixels, 10 classes."""
    class Options(ImageOptions):
        kind: Literal["fashion_mnist"]

    FOLDER = "fashion_mnist"
    FILES = {"train": remotes(MIRRORS, PAGE, (("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26421880),
                                              ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29515))),
             "test": remotes(MIRRORS, PAGE, (("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4422102),
                                             ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5148)))}
    ABOUT = {"name": "Fashion-MNIST", "source": f"{PAGE} (Xiao, Rasul and Vollgraf 2017)", "licence": "MIT"}
