"""What every pre-training shares."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Json
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..models import CodeNetwork, FloatNetwork
    from ..neurons.base import Neuron
    from ..options import Options
    from ..projections import InputSpec
    from ..quantizers.base import Quantizer
    from ..training import Method
    from ..training_options import TrainingOptions

__all__ = ["Pretraining"]


class Pretraining:
    """Base class: holds the options. Subclasses give ``train(model, data, **kwargs)`` and an ``Options`` class."""
    def __init__(self, options: Options) -> None:
        self.options = options

    if TYPE_CHECKING:
        def train(self, model: FloatNetwork, data: PreparedData, *args: Any, **kwargs: Any) -> list[dict[str, Json]]:
            """Train a FloatNetwork in place -> history (list of dicts, one per epoch)."""

    def check(self, neuron: Neuron, input_spec: InputSpec, shapes: tuple[LayerShape, ...]) -> None:
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

    def check_quantizer(self, quantizer: Quantizer, neuron: Neuron, input_spec: InputSpec) -> None:
        """As :meth:`check`, of the training of a quantizer that follows."""
        self.check_training(quantizer.options.training, neuron, input_spec)

    @staticmethod
    def check_training(training: TrainingOptions, neuron: Neuron, input_spec: InputSpec) -> None:
        """ValueError where neurons or input cannot be trained by surrogate gradients (TrainingOptions)."""
        if neuron.lateral is not None and training.epochs:
            raise ValueError("neurons that inhibit each other have no gradient: use pretraining of kind stdp, and training: "
                             "{epochs: 0} elsewhere")
        training.check(neuron, input_spec)

    def train_codes(self, model: CodeNetwork, source: FloatNetwork, data: PreparedData, method: Method | None = None,
                    **kwargs: Any) -> tuple[CodeNetwork, list[dict[str, Json]]]:
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
