"""Power-of-two weights: sign and exponent, or zero. A synapse is a shift."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..codecs import parse_codec
from .base import Quantizer, QuantizerOptions, nearest, straight_through

if TYPE_CHECKING:
    import torch

__all__ = ["PowerOfTwoQuantizer"]


class PowerOfTwoQuantizer(Quantizer):
    """Codes {0, +-1, +-2, +-4, ...}, nearest in value (SpQuant-SNN, Eq. 14 to 18).

    ``clip`` is the weight that takes the largest code: the largest of all (``largest``), or twice the mean magnitude
    (``twice_mean``), as SpQuant-SNN's released code has it.
    """
    class Options(QuantizerOptions):
        kind: Literal["pot"]
        bits: int = Field(4, ge=2, le=8)
        clip: Literal["largest", "twice_mean"] = "largest"

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.codec = parse_codec(f"{options.kind}{options.bits}")
        self.magnitudes = self.codec.codes[self.codec.codes >= 0].tolist()

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        if self.options.clip == "largest":
            return self._reduce(weight.abs(), per_channel, "amax") / self.codec.max_code
        return 2 * self._reduce(weight.abs(), per_channel, "mean") / self.codec.max_code

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        most = self.codec.max_code
        return straight_through(x.clamp(-most, most), nearest(x.abs(), self.magnitudes) * x.sign())
