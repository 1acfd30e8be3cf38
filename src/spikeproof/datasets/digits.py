"""Handwritten digits that ship with scikit-learn: 1797 images, 8x8, 17 grey levels, 10 classes.

Source: UCI "Optical Recognition of Handwritten Digits", test part (Alpaydin and Kaynak, 1998),
as in ``sklearn.datasets.load_digits``; CC BY 4.0. There is no official split of these images; ours
is stratified and seeded: 20 % test, 10 % validation.
"""
from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from .base import PARTS, PreparedData
from .images import EncodingOptions, encode, image_spec
from .splits import split_indices

if TYPE_CHECKING:
    from ..annotations import Array
    from ..projections import InputSpec
    from .sources import Sources

__all__ = ["Digits"]

GREY_LEVELS = 16            # pixels are 0 .. 16


def _rows() -> Array:
    """uint8 [1797, 65] of scikit-learn's file: the pixels of an image, and its label. Importing scikit-learn takes two seconds.

    Raises
    ------
    FileNotFoundError, ValueError
        If scikit-learn is not installed, or its file is another.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the digits are those of scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    if rows.shape != (1797, 65) or rows[:, :-1].max() > GREY_LEVELS or rows[:, -1].max() > 9:
        raise ValueError(f"{path} must have 1797 rows of 64 pixels and a label: install scikit-learn again")
    return rows


class Digits:
    """scikit-learn's handwritten digits; 16 is full scale."""
    class Options(EncodingOptions):
        kind: Literal["digits"]
        bits: int = Field(4, ge=1, le=8)
        split_seed: int = Field(0, ge=0)

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return image_spec(self.options, (8, 8, 1)), self.options.steps, 10

    def prepare(self, sources: Sources | None = None) -> PreparedData:
        """Read, encode, split -> PreparedData."""
        rows, seed = _rows(), self.options.split_seed
        spec, steps, classes = self.describe()
        labels = rows[:, -1].astype(np.int64)
        frames = encode(rows[:, :-1].reshape(-1, 8, 8, 1), self.options, seed, GREY_LEVELS)
        parts = split_indices(labels, test=0.2, validation=0.1, seed=seed)
        about = {"name": "scikit-learn digits", "images": len(labels),
                 "source": "sklearn.datasets.load_digits (UCI, Alpaydin and Kaynak 1998)", "licence": "CC BY 4.0",
                 "split": f"stratified, seed {seed}: " + ", ".join(f"{part} {len(parts[part])}" for part in PARTS)}
        return PreparedData(spec, steps, classes, {part: frames[index] for part, index in parts.items()},
                            {part: labels[index] for part, index in parts.items()}, about)
