"""Leaky integrate-and-fire (LIF): the membrane loses 1 / 2^leak_shift of itself at every step."""
from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..options import Options
from ..spec import Leak
from .base import Neuron

__all__ = ["LeakyIntegrateFire"]


class LeakyIntegrateFire(Neuron):
    """LIF with the leak ``v - (v >> leak_shift)``: beta = 1 - 2^-leak_shift, no multiplier."""
    class Options(Options):
        kind: Literal["lif"]
        leak_shift: int = Field(2, ge=1, le=8)
        reset: Literal["soft", "hard"] = "hard"
        readout: Literal["spike_count", "membrane", "sum"] = "membrane"

    def __init__(self, options: Options) -> None:
        self.reset = options.reset
        self.read_by(options.readout)
        self.leak = Leak("subtract_shift", shift=options.leak_shift)
        self.beta = 1 - 2.0**-options.leak_shift
