"""Handwritten digits that ship with scikit-learn: 1797 images, 8x8, 17 grey levels, 10 classes.

Source: UCI "Optical Recognition of Handwritten Digits", test part (Alpaydin and Kaynak, 1998),
as in ``sklearn.datasets.load_digits``; CC BY 4.0. There is no official split of these images; ours
is stratified and seeded: 20 % test, 10 % validation.
"""
from typing import Literal

import numpy as np
from pydantic import Field

from ..network import InputSpec
from ..options import Options
from .base import PreparedData, split_indices

__all__ = ["Digits"]

GREY_LEVELS = 16            # pixels are 0 .. 16


class Digits:
    """scikit-learn's handwritten digits.

    ``direct``: pixels as unsigned codes of ``bits`` bits, the same at every step. ``rate``: spikes, a
    seeded Bernoulli draw per pixel and step with probability pixel / 16.
    """
    class Options(Options):
        kind: Literal["digits"]
        encoding: Literal["direct", "rate"] = "direct"
        bits: int = Field(4, ge=1, le=8)
        steps: int = Field(4, ge=1, le=64)
        split_seed: int = Field(0, ge=0)

    def __init__(self, options):
        self.options = options

    def describe(self):
        """(InputSpec, steps, classes), without reading anything."""
        o = self.options
        direct = o.encoding == "direct"
        return InputSpec((8, 8, 1), o.bits if direct else 1, constant=direct), o.steps, 10

    def prepare(self):
        """Read, encode, split -> PreparedData."""
        from sklearn.datasets import load_digits
        bunch, o = load_digits(), self.options
        spec, steps, classes = self.describe()
        pixels, labels = bunch.images.astype(np.int64), bunch.target.astype(np.int64)
        if o.encoding == "direct":
            codes = (pixels * spec.max_code + GREY_LEVELS // 2) // GREY_LEVELS
            frames = codes[..., None].astype(np.uint8)
        else:
            rng = np.random.default_rng(o.split_seed)
            draws = rng.integers(0, GREY_LEVELS, (len(pixels), steps, 8, 8))
            frames = (draws < pixels[:, None])[..., None].astype(np.uint8)
        parts = split_indices(labels, test=0.2, validation=0.1, seed=o.split_seed)
        about = {"name": "scikit-learn digits", "images": len(labels),
                 "source": "sklearn.datasets.load_digits (UCI, Alpaydin and Kaynak 1998)", "licence": "CC BY 4.0",
                 "split": f"stratified, seed {o.split_seed}: " +
                          ", ".join(f"{part} {len(index)}" for part, index in parts.items())}
        return PreparedData(spec, steps, classes, {part: frames[index] for part, index in parts.items()},
                            {part: labels[index] for part, index in parts.items()}, about)
