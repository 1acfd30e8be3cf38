"""MNIST: 60,000 + 10,000 handwritten digits, 28x28, 256 grey levels (LeCun, Cortes and Burges, 1998).

Four gzipped IDX files. The publisher's server refuses downloads now; the addresses are mirrors that PyTorch and Google keep,
and the digests those that torchvision states. Licence: commonly given as CC BY-SA 3.0; the publisher states none.
The test part is the official one.
"""
from typing import Literal

from .idx import IdxDataset, remotes
from .images import ImageOptions

__all__ = ["Mnist"]

PAGE = "https://yann.lecun.com/exdb/mnist/"
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


class Mnist(IdxDataset):
    """Handwritten digits, 28x28 pixels, 10 classes."""
    class Options(ImageOptions):
        kind: Literal["mnist"]

    FOLDER = "mnist"
    FILES = {"train": remotes(MIRRORS, PAGE, (("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422),
                                              ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28881))),
             "test": remotes(MIRRORS, PAGE, (("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1648877),
                                             ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4542)))}
    ABOUT = {"name": "MNIST", "source": f"{PAGE} (LeCun, Cortes and Burges 1998)",
             "licence": "commonly given as CC BY-SA 3.0; none stated by the publisher"}
