"""Leaky integrate-and-fire whose membrane is multiplied by a constant at every step."""
from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..options import Options
from .base import Neuron, nearest_leak

__all__ = ["Decay"]


class Decay(Neuron):
    """LIF with v(t) = decay v(t - 1) + current (STBP's tau); the constant is the nearest fraction of ``bits`` bits."""
    class Options(Options):
        kind: Literal["decay"]
        decay: float = Field(0.25, gt=0, lt=1)
        bits: int = Field(8, ge=1, le=16)
        reset: Literal["soft", "hard"] = "hard"
        readout: Literal["spike_count", "membrane", "sum"] = "spike_count"

    def __init__(self, options: Options) -> None:
        self.reset = options.reset
        self.read_by(options.readout)
        self.leak = nearest_leak(options.decay, options.bits, least=1)
        self.beta = self.leak.factor
