"""What every pre-training shares."""

__all__ = ["Pretraining"]


class Pretraining:
    """Base class: holds the options. Subclasses give ``train(model, data, **kwargs)`` and an ``Options`` class."""
    def __init__(self, options):
        self.options = options

    def check(self, neuron, input_spec):
        """ValueError where such neurons or such an input cannot be trained so; without torch, before anything runs.

        Parameters
        ----------
        neuron : Neuron
        input_spec : InputSpec
        """
        if hasattr(self.options, "training"):
            self.options.training.check(neuron, input_spec)
