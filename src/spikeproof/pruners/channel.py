"""Structured pruning: whole channels leave the network, and memory and cycles with them."""
from typing import Literal

from pydantic import Field

from ..options import Options
from ..training_options import TrainingOptions

__all__ = ["ChannelPruner"]


class ChannelPruner:
    """Keeps the channels of each hidden layer that drive the next layer most.

    Importance of a channel = its firing rate on training images times the mean magnitude of its outgoing
    weights, summed over all that read it. Channels that a residual addition joins are judged together. The smaller network is then
    trained on with its quantizer.
    """
    class Options(Options):
        kind: Literal["channel"]
        keep: float = Field(0.5, gt=0, le=1)
        training: TrainingOptions = TrainingOptions(epochs=15, learning_rate=1e-3)

    def __init__(self, options):
        self.options = options

    def kept(self, members):
        """Indices of the channels to keep, ascending.

        Parameters
        ----------
        members : list of (rates, outgoing), one for each layer whose channels go together (one layer, but for residual
            additions): rates is a tensor [C], spikes per neuron and step; outgoing a list of tensors [C_next, C, kh, kw],
            values, one for each connection that reads the layer
        """
        importance = sum(rates * sum(weights.abs().mean(dim=(0, 2, 3)) for weights in outgoing) for rates, outgoing in members)
        count = max(1, round(self.options.keep * len(importance)))
        return importance.argsort(descending=True, stable=True)[:count].sort().values
