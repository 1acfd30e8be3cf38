"""Power-of-two weights: sign and exponent, or zero. A synapse is a shift."""
from typing import Literal

from pydantic import Field

from ..codecs import parse_codec
from .base import Quantizer, QuantizerOptions, straight_through

__all__ = ["PowerOfTwoQuantizer"]


class PowerOfTwoQuantizer(Quantizer):
    """Codes {0, +-1, +-2, +-4, ..., +-2^(levels-1)}, nearest in value; the largest weight takes the largest."""
    class Options(QuantizerOptions):
        kind: Literal["pot"]
        bits: int = Field(4, ge=2, le=5)

    def __init__(self, options):
        super().__init__(options)
        self.codec = parse_codec(f"pot{options.bits}")

    def scale(self, weight, per_channel):
        return self._reduce(weight.abs(), per_channel, "amax") / self.codec.max_code

    def codes(self, x):
        magnitude = x.abs()
        # Nearest of 2^k and 2^(k+1) changes at their mean, 1.5 * 2^k.
        code = (magnitude >= 0.5).to(x.dtype)
        for k in range(self.codec.levels - 1):
            code = code + (magnitude >= 1.5 * 2**k).to(x.dtype) * 2**k
        return straight_through(x.clamp(-self.codec.max_code, self.codec.max_code), code * x.sign())
