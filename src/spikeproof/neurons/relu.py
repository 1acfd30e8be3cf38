"""ReLU: the artificial twin of a spiking network, the baseline that conversion and ATIF are compared with."""
from __future__ import annotations

from typing import Literal

from ..options import Options
from ..spec import Leak
from .base import Neuron

__all__ = ["Relu"]


class Relu(Neuron):
    """max(0, x) in place of spikes, one pass in place of time steps: full precision only, it cannot be quantized or built.

    Event frames are taken one by one and the logits averaged.
    """
    class Options(Options):
        kind: Literal["relu"]

    activation = "relu"

    def __init__(self, options: Options) -> None:
        self.reset, self.readout = "soft", "membrane"
        self.leak, self.beta = Leak(), 1.0
