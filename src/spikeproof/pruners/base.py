"""What every pruner shares."""

__all__ = ["Pruner"]


class Pruner:
    """Base class: holds the options. Subclasses give :meth:`prune` and an ``Options`` class with ``training``."""
    def __init__(self, options):
        self.options = options

    def layers(self, shapes):
        """LayerShapes of the pruned network, but for numbers of channels that data decide; without torch.

        Raises
        ------
        ValueError
            If the network cannot be pruned so.
        """
        return shapes

    def check(self, shapes, neuron):
        """ValueError where such layers of such neurons cannot be pruned so; without torch, before anything runs.

        Parameters
        ----------
        shapes : tuple of LayerShape, those of synaptic currents among them
        neuron : Neuron
        """
        self.layers(shapes)

    def prune(self, model, data):
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

    def method(self):
        """What is added to the loop that trains it on: a :class:`spikeproof.training.Method`, or None."""
        return None
