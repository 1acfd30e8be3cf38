"""MNIST's file format, and what datasets in it share."""
from __future__ import annotations

import gzip
import zlib
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..files import CorruptFile
from .images import image_spec, prepare_images
from .sources import Remote, check_count

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedIOBase

    from ..annotations import Array, StrPath
    from ..projections import InputSpec
    from .base import PreparedData
    from .images import ImageOptions
    from .sources import Sources

__all__ = ["IdxDataset", "read_idx", "remotes"]

#: What the third and fourth byte of an IDX file say: unsigned bytes in so many dimensions.
UNSIGNED_BYTES = 8
#: Most values of a file: a header may lie.
MOST = 1 << 30


def read_idx(path: StrPath, dimensions: int) -> Array:
    """An IDX file of unsigned bytes, gzipped or not -> uint8 array.

    The format: two zero bytes, the type, the number of dimensions, each dimension as a big-endian uint32, the values.

    Raises
    ------
    CorruptFile
        If the file is truncated, too long, or no IDX file with that many dimensions.
    """
    remedy = "delete it and run prepare again"
    file: BufferedIOBase
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    start = 4 + 4 * dimensions
    try:
        with gzip.open(path) if zipped else open(path, "rb") as file:
            head = file.read(start)
            magic, shape = int.from_bytes(head[:4], "big"), np.frombuffer(head[4:len(head) // 4 * 4], ">u4").tolist()
            expected = UNSIGNED_BYTES << 8 | dimensions
            if len(head) < 4 or magic != expected:
                raise CorruptFile(f"{path} must begin with the magic number {expected}, not {magic}: it is not the file that its "
                                  f"name says; {remedy}")
            count = prod(shape)
            if count > MOST:
                raise CorruptFile(f"{path} must have at most {MOST:,} values, but says {' x '.join(map(str, shape))}: {remedy}")
            raw = bytearray()
            while len(raw) <= count and (piece := file.read(min(1 << 20, count + 1 - len(raw)))):
                raw += piece                                        # a byte more than there should be, and none before it comes
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptFile(f"{path} is truncated or damaged ({error}): {remedy}") from None
    if len(raw) != count or len(shape) != dimensions:
        found = len(raw) if len(raw) <= count else "more"
        raise CorruptFile(f"{path} must have {' x '.join(map(str, shape))} values, but has {found}: {remedy}")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def remotes(mirrors: tuple[str, ...], page: str, files: Iterable[tuple[str, str, int]]) -> tuple[Remote, ...]:
    """(name, md5, bytes) of published files -> tuple of Remote."""
    return tuple(Remote(name, tuple(mirror + name for mirror in mirrors), page, md5=md5, size=size) for name, md5, size in files)


class IdxDataset:
    """Base of the datasets in four IDX files; subclasses say FOLDER, FILES (part -> Remote of images, of labels) and ABOUT."""
    FOLDER: str
    FILES: dict[str, tuple[Remote, ...]]
    ABOUT: dict[str, str]
    CLASSES = 10
    COUNTS = {"train": 60000, "test": 10000}

    def __init__(self, options: ImageOptions) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return image_spec(self.options, (28, 28, 1)), self.options.steps, self.CLASSES

    def prepare(self, sources: Sources) -> PreparedData:
        """Read, encode, split -> PreparedData."""
        spec, _, classes = self.describe()
        parts = {}
        for part, remotes in self.FILES.items():
            paths = [sources.file(self.FOLDER, remote, self.options.official) for remote in remotes]
            images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
            if len(images) != len(labels):
                raise CorruptFile(f"{paths[1]} has {len(labels)} labels for the {len(images)} images of {paths[0]}")
            if images.shape[1:] != spec.shape[:2]:
                raise CorruptFile(f"{paths[0]} must have images of 28 x 28, not {' x '.join(map(str, images.shape[1:]))}")
            if len(labels) and labels.max() >= classes:
                raise CorruptFile(f"{paths[1]} must have labels 0 to {classes - 1}, not {labels.max()} at position "
                                  f"{labels.argmax()}")
            check_count(paths[0], "images", len(labels), self.COUNTS[part], self.options.official)
            parts[part] = images[..., None], labels.astype(np.int64)
        return prepare_images(self.options, spec, classes, parts["train"], parts["test"], self.ABOUT, "official")
