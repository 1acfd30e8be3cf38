"""Integrate-and-fire (IF): no leak."""
from typing import Literal

from ..options import Options
from ..spec import Leak

__all__ = ["IntegrateFire"]


class IntegrateFire:
    """IF: the membrane keeps all that was not spent on a spike."""
    class Options(Options):
        kind: Literal["if"]
        reset: Literal["soft", "hard"] = "soft"
        readout: Literal["spike_count", "membrane"] = "spike_count"

    activation = "spike"

    def __init__(self, options):
        self.reset, self.readout = options.reset, options.readout
        self.leak, self.beta = Leak(), 1.0

    def threshold(self, steps):
        from ..thresholds import FixedThreshold
        return FixedThreshold()
