"""What every pre-training shares."""

__all__ = ["Pretraining"]


class Pretraining:
    """Base class: holds the options. Subclasses give ``train(model, data, **kwargs)`` and an ``Options`` class."""
    def __init__(self, options):
        self.options = options

    def check(self, neuron, input_spec, shapes):
        """ValueError where such neurons, input or layers cannot be trained so; without torch, before anything runs.

        Parameters
        ----------
        neuron : Neuron
        input_spec : InputSpec
        shapes : tuple of LayerShape
        """
        training = getattr(self.options, "training", None)
        if training is not None:
            self.check_training(training, neuron, input_spec)
            if training.epochs == 0:
                raise ValueError("training.epochs must be at least 1: nothing would be trained")

    def check_quantizer(self, quantizer, neuron, input_spec):
        """As :meth:`check`, of the training of a quantizer that follows."""
        self.check_training(quantizer.options.training, neuron, input_spec)

    @staticmethod
    def check_training(training, neuron, input_spec):
        """ValueError where neurons or input cannot be trained by surrogate gradients (TrainingOptions)."""
        if neuron.lateral is not None and training.epochs:
            raise ValueError("neurons that inhibit each other have no gradient: use pretraining of kind stdp, and training: "
                             "{epochs: 0} elsewhere")
        training.check(neuron, input_spec)

    def train_codes(self, model, source, data, method=None, **kwargs):
        """Train a quantized network on -> (CodeNetwork, history): by surrogate gradients, whatever came before.

        Parameters
        ----------
        model : CodeNetwork, from ``source``
        source : FloatNetwork, as this pre-training left it
        data : PreparedData
        method : spikeproof.training.Method of the quantizer, or None
        """
        from ..training import fit
        return model, fit(model, data, model.quantizer.options.training, method=method, **kwargs)
