"""Ternary weights {-1, 0, +1} times a scale (Li and Liu, Ternary Weight Networks, 2016)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..codecs import Ternary
from .base import Quantizer, QuantizerOptions, straight_through

if TYPE_CHECKING:
    import torch

__all__ = ["TernaryQuantizer"]


class TernaryQuantizer(Quantizer):
    """Weights below half the scale in magnitude are zero.

    The scale is 1.4 mean|w|, so the cut is at 0.7 mean|w|, the near-optimal one of the paper (Eq. 6); for
    Gaussian weights the survivors' mean magnitude is about 1.4 mean|w| too.
    """
    class Options(QuantizerOptions):
        kind: Literal["ternary"]

    codec = Ternary()

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        return 1.4 * self._reduce(weight.abs(), per_channel, "mean")

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(x.clamp(-2, 2), (x >= 0.5).to(x.dtype) - (x <= -0.5).to(x.dtype))
