"""Binary weights {-1, +1} times a scale, the mean magnitude (Rastegari et al., XNOR-Net, 2016)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..codecs import Binary
from .base import Quantizer, QuantizerOptions, straight_through

if TYPE_CHECKING:
    import torch

__all__ = ["BinaryQuantizer"]


class BinaryQuantizer(Quantizer):
    """sign(w), with sign(0) = +1; the straight-through gradient stops where |w| exceeds 3 scales."""
    class Options(QuantizerOptions):
        kind: Literal["binary"]

    codec = Binary()

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        return self._reduce(weight.abs(), per_channel, "mean")

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(x.clamp(-3, 3), (x >= 0).to(x.dtype) * 2 - 1)
