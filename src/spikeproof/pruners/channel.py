"""Structured pruning: whole channels leave the network, and memory and cycles with them."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..architectures.shapes import channel_groups
from ..options import Options
from ..training_options import ExactTrainingOptions
from .base import Pruner

if TYPE_CHECKING:
    import torch

    from ..datasets.base import PreparedData
    from ..models import CodeNetwork

__all__ = ["ChannelPruner"]


class ChannelPruner(Pruner):
    """Keeps the channels of each hidden layer that drive the next layer most.

    Importance of a channel = its firing rate on training images times the mean magnitude of its outgoing
    weights, summed over all that read it. Channels that a residual addition or a gate joins are judged together. The smaller
    network is then trained on with its quantizer.
    """
    class Options(Options):
        kind: Literal["channel"]
        keep: float = Field(0.5, gt=0, le=1)
        training: ExactTrainingOptions = ExactTrainingOptions(epochs=15, learning_rate=1e-3)

    options: Options

    def kept(self, members: list[tuple[torch.Tensor, list[torch.Tensor]]]) -> torch.Tensor:
        """Indices of the channels to keep, ascending.

        Parameters
        ----------
        members : list of (rates, outgoing), one for each layer whose channels go together (one layer, but for residual
            additions): rates is a tensor [C], spikes per neuron and step; outgoing a list of tensors [C_next, C, kh, kw],
            values, one for each connection that reads the layer
        """
        importance = sum(rates * sum(weights.abs().mean(dim=(0, 2, 3)) for weights in outgoing) for rates, outgoing in members)
        assert not isinstance(importance, int)
        count = max(1, round(self.options.keep * len(importance)))
        return importance.argsort(descending=True, stable=True)[:count].sort().values

    def prune(self, model: CodeNetwork, data: PreparedData) -> tuple[CodeNetwork, str]:
        from ..training import firing_rates
        hidden = [shape for shape in model.shapes[:-1] if shape.emits == "spikes"]
        rates = {shape.name: of.float() for shape, of in zip(hidden, firing_rates(model, data, "train"))}
        kept: dict[str, torch.Tensor] = {}
        for names in channel_groups(model.shapes):
            members = [(rates[name], model.outgoing(name)) for name in names if name in rates and model.outgoing(name)]
            if members:                                              # else these are the currents of the last layer
                kept.update(dict.fromkeys(names, self.kept(members)))
        told = ", ".join(f"{len(kept[shape.name])} of {shape.out_channels} channels of {shape.name}"
                         for shape in hidden if shape.name in kept)
        return model.pruned(kept), f"kept {told}"
