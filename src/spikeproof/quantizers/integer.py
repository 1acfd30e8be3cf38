"""Uniform symmetric integers of b bits, trained with a straight-through estimator."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..codecs import parse_codec
from .base import Quantizer, QuantizerOptions, round_ste

if TYPE_CHECKING:
    import torch

__all__ = ["IntQuantizer"]


class IntQuantizer(Quantizer):
    """Codes -(2^(b-1)-1) .. 2^(b-1)-1 (narrow range); the largest weight takes the largest code.

    Nothing is clipped, unless ``power_of_two_scale`` rounds the scale down.
    """
    class Options(QuantizerOptions):
        kind: Literal["int"]
        bits: int = Field(8, ge=2, le=16)

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.codec = parse_codec(f"int{options.bits}")
        self.max_code = (1 << (options.bits - 1)) - 1

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        return self._reduce(weight.abs(), per_channel, "amax") / self.max_code

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return round_ste(x).clamp(-self.max_code, self.max_code)
