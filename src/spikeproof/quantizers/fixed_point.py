"""Fixed point Qi.f: a power-of-two step that a user states, and the rounding (Q-SpiNN; Gupta et al., ICML 2015)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..codecs import parse_codec
from .base import Quantizer, QuantizerOptions, rounded, straight_through

if TYPE_CHECKING:
    import torch

    from ..rounding import RoundedTraining

__all__ = ["FixedPointQuantizer"]


class FixedPointQuantizer(Quantizer):
    """Signed codes of ``bits`` bits for -2^i .. 2^i - 2^-f in steps of 2^-f: one sign bit, i integer and f fraction bits.

    ``integer_bits`` is i, which may be negative, and f = bits - 1 - i. Left out, i is for each layer the least that holds its
    largest magnitude. ``rounding`` of weights: ``floor`` is truncation, ``half_up`` to the nearest, ``stochastic`` up with the
    probability of what is cut off.

    In training, ``updates: shadow`` rounds in the forward pass alone and updates a copy in full precision; ``updates: rounded``
    rounds the weights after every update and keeps no copy, as hardware that learns would. With ``training: {epochs: 0}`` nothing
    is trained: post-training quantization.
    """
    class Options(QuantizerOptions):
        kind: Literal["fixed_point"]
        bits: int = Field(8, ge=2, le=16)
        integer_bits: int | None = Field(None, ge=-16, le=16)
        rounding: Literal["floor", "half_up", "half_even", "stochastic"] = "half_up"
        updates: Literal["shadow", "rounded"] = "shadow"
        scale: Literal["layer"] = "layer"

    options: Options
    generator: torch.Generator | None

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.codec = parse_codec(f"int{options.bits}")
        self.most = 1 << (options.bits - 1)
        self.generator = None                                        # of fresh draws, while it is trained

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        largest = self._reduce(weight.abs(), per_channel, "amax")
        integer = largest.log2().ceil() if self.options.integer_bits is None else largest.new_full((), self.options.integer_bits)
        return (integer - (self.options.bits - 1)).exp2().expand_as(largest)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        import torch
        generator = self.generator if torch.is_grad_enabled() else None
        codes = rounded(x.detach(), self.options.rounding, generator)
        return straight_through(x.clamp(-self.most, self.most - 1), codes.clamp(-self.most, self.most - 1))

    def method(self) -> RoundedTraining:
        from ..rounding import RoundedTraining
        return RoundedTraining(self)
