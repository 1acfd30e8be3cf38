"""Learned step size quantization (LSQ; Esser et al., 2020): uniform integers whose scale is trained with the weights."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ..codecs import parse_codec
from .base import Quantizer, QuantizerOptions, round_ste

if TYPE_CHECKING:
    import torch

__all__ = ["LsqQuantizer"]


class LsqQuantizer(Quantizer):
    """Codes -Q .. Q with Q = 2^(b-1) - 1; the step s is trained.

    The gradient of a quantized weight with respect to s is round(w/s) - w/s inside and -Q or Q outside (Eq. 3), times
    1 / sqrt(N Q) for the N weights of a step (Section 2.2); s starts at 2 mean|w| / sqrt(Q) (Section 2.1). The range is symmetric,
    unlike the paper's -2^(b-1) .. 2^(b-1) - 1, so that a layer's sums are bounded alike on both sides.
    """
    class Options(QuantizerOptions):
        kind: Literal["lsq"]
        bits: int = Field(4, ge=2, le=8)

        @field_validator("power_of_two_scale")
        @classmethod
        def _is_trained(cls, value: bool) -> bool:
            if value:
                raise ValueError("must be false: the scale is trained")
            return value

    learned = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.codec = parse_codec(f"int{options.bits}")
        self.max_code = (1 << (options.bits - 1)) - 1

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        """Where the step starts."""
        return 2 * self._reduce(weight.abs(), per_channel, "mean") / self.max_code**0.5

    def learned_scale(self, step: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        from ..thresholds import SMALLEST_STEP, at_least
        factor = (weight.numel() / step.numel() * self.max_code) ** -0.5
        step = at_least(step, SMALLEST_STEP)
        return step * factor + (step * (1 - factor)).detach()

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return round_ste(x.clamp(-self.max_code, self.max_code))
