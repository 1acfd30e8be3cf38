"""CIFAR's binary format, and what the two datasets in it share."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import CorruptFile
from .images import image_spec, prepare_images
from .sources import check_count

if TYPE_CHECKING:
    from ..annotations import Array, StrPath
    from ..projections import InputSpec
    from .base import PreparedData
    from .images import ImageOptions
    from .sources import Archive, Sources

__all__ = ["CifarDataset", "read_cifar"]

PIXELS = 3 * 32 * 32


def read_cifar(path: StrPath, label_bytes: int, classes: int) -> tuple[Array, Array]:
    """Records of label bytes and 1024 red, green and blue pixels -> (uint8 [N, 32, 32, 3], int64 [N]), the last label of each.

    Raises
    ------
    CorruptFile
        If the file does not consist of whole records, or a label is out of range.
    """
    size, remedy = label_bytes + PIXELS, "delete it and run prepare again"
    raw = np.fromfile(path, np.uint8)
    if len(raw) % size or not len(raw):
        raise CorruptFile(f"{path} must have records of {size} bytes, but has {len(raw)} bytes: {remedy}")
    records = raw.reshape(-1, size)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise CorruptFile(f"{path} must have labels 0 to {classes - 1}, not {labels.max()} in record {labels.argmax()}: {remedy}")
    return records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


class CifarDataset:
    """Base of both; subclasses say FOLDER, ARCHIVE, FILES (part -> names), LABEL_BYTES, CLASSES and ABOUT."""
    FOLDER: str
    ARCHIVE: Archive
    FILES: dict[str, list[str]]
    LABEL_BYTES: int
    CLASSES: int
    ABOUT: dict[str, str]
    COUNTS = {"train": 50000, "test": 10000}

    def __init__(self, options: ImageOptions) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return image_spec(self.options, (32, 32, 3)), self.options.steps, self.CLASSES

    def prepare(self, sources: Sources) -> PreparedData:
        """Read, encode, split -> PreparedData."""
        spec, _, classes = self.describe()
        official = self.options.official
        folder, parts = Path(sources.folder(self.FOLDER, self.ARCHIVE, official)), {}
        for part, names in self.FILES.items():
            paths = [folder / name for name in names]
            absent = [path for path in paths if not path.is_file()]
            if absent and (official or len(absent) == len(paths)):
                raise FileNotFoundError(f"{absent[0]} is missing: move the folder away to have it unpacked again, or set "
                                        "`official: false` to use files of your own")
            read = [read_cifar(path, self.LABEL_BYTES, classes) for path in paths if path.is_file()]
            images, labels = (np.concatenate(each) for each in zip(*read))
            parts[part] = images, labels
            check_count(folder, f"{part} images", len(parts[part][1]), self.COUNTS[part], official)
        return prepare_images(self.options, spec, classes, parts["train"], parts["test"], self.ABOUT, "official")
