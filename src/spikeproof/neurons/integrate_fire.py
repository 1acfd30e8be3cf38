"""Integrate-and-fire (IF): no leak."""
from __future__ import annotations

from typing import Literal

from ..options import Options
from ..spec import Leak
from .base import Neuron

__all__ = ["IntegrateFire"]


class IntegrateFire(Neuron):
    """IF: the membrane keeps all that was not spent on a spike."""
    class Options(Options):
        kind: Literal["if"]
        reset: Literal["soft", "hard"] = "soft"
        readout: Literal["spike_count", "membrane"] = "spike_count"

    def __init__(self, options: Options) -> None:
        self.reset, self.readout = options.reset, options.readout
        self.leak, self.beta = Leak(), 1.0
