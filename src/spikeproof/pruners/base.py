"""What every pruner shares."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..models import CodeNetwork
    from ..neurons.base import Neuron
    from ..options import Options
    from ..training import Method

__all__ = ["Pruner"]


class Pruner:
    """Base class: holds the options. Subclasses give :meth:`prune` and an ``Options`` class with ``training``."""
    def __init__(self, options: Options) -> None:
        self.options = options

    def layers(self, shapes: tuple[LayerShape, ...]) -> tuple[LayerShape, ...]:
        """LayerShapes of the pruned network, but for numbers of channels that data decide; without torch.

        Raises
        ------
        ValueError
            If the network cannot be pruned so.
        """
        return shapes

    def check(self, shapes: tuple[LayerShape, ...], neuron: Neuron) -> None:
        """ValueError where such layers of such neurons cannot be pruned so; without torch, before anything runs.

        Parameters
        ----------
        shapes : tuple of LayerShape, those of synaptic currents among them
        neuron : Neuron
        """
        self.layers(shapes)

    def prune(self, model: CodeNetwork, data: PreparedData) -> tuple[CodeNetwork, str]:
        """A smaller network, before it is trained on.

        Parameters
        ----------
        model : CodeNetwork
        data : PreparedData

        Returns
        -------
        (CodeNetwork, what was done to it: a text)
        """
        raise NotImplementedError

    def method(self) -> Method | None:
        """What is added to the loop that trains it on: a :class:`spikeproof.training.Method`, or None."""
        return None
