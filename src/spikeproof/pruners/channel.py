"""Structured pruning: whole channels leave the network, and memory and cycles with them."""
from typing import Literal

from pydantic import Field

from ..options import Options
from ..training_options import TrainingOptions

__all__ = ["ChannelPruner"]


class ChannelPruner:
    """Keeps the channels of each hidden layer that drive the next layer most.

    Importance of a channel = its firing rate on training images times the mean magnitude of its outgoing
    weights. The smaller network is then trained on with its quantizer.
    """
    class Options(Options):
        kind: Literal["channel"]
        keep: float = Field(0.5, gt=0, le=1)
        training: TrainingOptions = TrainingOptions(epochs=15, learning_rate=1e-3)

    def __init__(self, options):
        self.options = options

    def kept(self, rates, outgoing):
        """Indices of the channels to keep, ascending.

        Parameters
        ----------
        rates : tensor [C], firing rate of each channel, spikes per neuron and step
        outgoing : tensor [C_next, C, kh, kw], weights of the next layer, values
        """
        count = max(1, round(self.options.keep * len(rates)))
        importance = rates * outgoing.abs().mean(dim=(0, 2, 3))
        return importance.argsort(descending=True, stable=True)[:count].sort().values
