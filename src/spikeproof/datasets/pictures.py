"""Image files in folders named after classes."""
from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import DEFLATE, CorruptFile

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..annotations import Array, StrPath

__all__ = ["class_folders", "read_picture"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
#: Pillow's modes that lose nothing in 8 bits.
EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}


def _foreign(name: str) -> bool:
    """Whether a file or folder is of an editor or a system, not of the dataset."""
    return name.startswith(".") or name == "__MACOSX"


def class_folders(folder: StrPath, names: Sequence[str] | None = None,
                  suffixes: Container[str] = SUFFIXES) -> tuple[list[str], list[Path], Array]:
    """Files of a tree ``<class>/<file>`` -> (class names, list of Path, int64 labels).

    Parameters
    ----------
    folder : Path
    names : the classes in the order of their labels (default those there are, by name)

    Raises
    ------
    FileNotFoundError
        If the folder, or that of a class, is absent or has no such files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: it must have a folder for each class")
    names = names or sorted(path.name for path in folder.iterdir() if path.is_dir() and not _foreign(path.name))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = folder / name
        found = sorted(path for path in own.rglob("*") if path.suffix.lower() in suffixes and path.is_file()
                       and not any(map(_foreign, path.relative_to(own).parts))) if own.is_dir() else []
        if not found:
            raise FileNotFoundError(f"{own} {'has no files of the dataset' if own.is_dir() else 'is missing'}: it must have those "
                                    f"of class {name}")
        paths += found
        labels += [label] * len(found)
    if not names:
        raise FileNotFoundError(f"{folder} must have a folder for each class, but has none")
    return list(names), paths, np.array(labels, np.int64)


def read_picture(path: StrPath, shape: tuple[int, int, int], resize: int | None = None) -> Array:
    """An image file -> uint8 [H, W, C], C 1 (grey) or 3.

    Parameters
    ----------
    path : Path
    shape : (height, width, channels)
    resize : int, the shorter side is scaled to it and the middle cut out; None for images that have the shape already

    Raises
    ------
    CorruptFile
        If the file is no image, truncated, or of another size.
    """
    from PIL import Image, UnidentifiedImageError
    height, width, channels = shape
    image: Image.Image
    try:
        raw = Path(path).read_bytes()                               # of a file, Pillow would ask for as much as a header says
        with Image.open(io.BytesIO(raw)) as image:
            mode = image.mode
            if image.width * image.height > DEFLATE * len(raw) + (1 << 20):
                raise ValueError(f"it says that it is {image.width} x {image.height}, which its {len(raw):,} bytes cannot be")
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise CorruptFile(f"{path} is no whole image ({' '.join(str(error).split())[:150]}): replace or delete it") from None
    if mode not in EIGHT_BIT:
        raise CorruptFile(f"{path} must have 8 bits a channel, not pixels of mode {mode!r}: convert it")
    if resize is not None:
        scale = resize / min(image.size)
        image = image.resize([max(round(side * scale), resize) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    if image.size != (width, height):
        raise CorruptFile(f"{path} is {image.width} x {image.height}, and images must be {width} x {height}; set `resize` to scale "
                          "them")
    return np.asarray(image).reshape(shape)
