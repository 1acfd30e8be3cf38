"""Unsupervised learning by spike-timing-dependent plasticity (STDP), and neurons labelled by what they respond to.

Diehl and Cook, "Unsupervised learning of digit recognition using spike-timing-dependent plasticity", Frontiers in Computational
Neuroscience 9:99, 2015: Poisson input, competing neurons with adaptive thresholds, the rule that looks at presynaptic traces when
its neuron spikes, weights normalised after every image, labels from the responses to training images. What is ours: current-based
synapses, the values of the constants (our tuning), and labels as a second layer of the network, so that it decides by itself.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from .base import Pretraining

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Json
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..models import CodeNetwork, FloatNetwork
    from ..neurons.base import Neuron
    from ..projections import InputSpec
    from ..quantizers.base import Quantizer
    from ..training import Method

__all__ = ["Stdp"]


class Stdp(Pretraining):
    """A dense layer learns without labels, image after image; then the last layer's weights say what each neuron stands for.

    At a spike each weight w of its neuron moves by ``learning_rate`` (x - ``target``) (``largest_weight`` - w) ^ ``exponent``,
    where x is the presynaptic trace: 1 at a spike, and times ``trace_decay`` in each step. The neuron's threshold rises by
    ``theta_plus``; all of them fall by the share ``theta_decay`` in each step. After an image, the weights of each neuron that
    fired are scaled to the sum ``weight_sum``. Constants are in units of the threshold that all neurons have at first, 1. The
    learning rate falls linearly to the share ``final_rate`` of itself.

    Labels are made of the responses to ``label_images`` training images: ``proportion`` gives each neuron a weight for each class,
    the share of its responses that is the class's (mean over its images); ``label`` the class that it responds to most, over the
    number of neurons with that label (the paper's vote).

    In-training quantization (``training: {epochs: ...}`` of quantizer ``fixed_point``) learns from fresh weights again: with
    ``updates: rounded`` they are rounded after every update, with ``shadow`` where they are used alone; membranes, thresholds and
    leaks are rounded as in the quantized network. Labels are then those of the quantized neurons.
    """
    class Options(Options):
        kind: Literal["stdp"]
        epochs: int = Field(1, ge=1)
        learning_rate: float = Field(0.1, gt=0, le=100)
        final_rate: float = Field(0.1, gt=0, le=1)
        target: float = Field(0.2, ge=0, lt=1)
        exponent: float = Field(1.0, ge=0, le=4)
        trace_decay: float = Field(0.95, gt=0, lt=1)
        largest_weight: float = Field(0.0625, gt=0, le=1000)
        weight_sum: float = Field(6.0, gt=0, le=1e6)
        theta_plus: float = Field(0.3, ge=0, le=1000)
        theta_decay: float = Field(2e-6, ge=0, lt=1)
        label_images: int = Field(10000, ge=1)
        vote: Literal["proportion", "label"] = "proportion"

    options: Options

    def check(self, neuron: Neuron, input_spec: InputSpec, shapes: tuple[LayerShape, ...]) -> None:
        if neuron.lateral is None:
            raise ValueError("stdp wants neurons that compete, of kind diehl_cook")
        if input_spec.bits != 1 or input_spec.constant:
            raise ValueError("stdp wants spikes as input: images with encoding: rate, or events of one bit")
        if len(shapes) != 2 or neuron.readout != "membrane":
            raise ValueError("stdp wants two dense layers, like 400-10, the neurons that learn and their labels, read as sums")
        if any(connection.norm for connection in shapes[0].connections):
            raise ValueError("stdp wants an architecture without batch normalisation: set norm: false")
        inputs = math.prod(input_spec.shape)
        most = self.options.largest_weight * inputs / 2
        if self.options.weight_sum > most:
            raise ValueError(f"weight_sum must be at most {most:g}, half of what {inputs} inputs at largest_weight sum up to, so "
                             f"that there is something to choose, not {self.options.weight_sum:g}")

    def check_quantizer(self, quantizer: Quantizer, neuron: Neuron, input_spec: InputSpec) -> None:
        if quantizer.options.training.epochs and quantizer.options.kind != "fixed_point":
            raise ValueError("stdp learns in codes of quantizer fixed_point alone: use that, or training: {epochs: 0}")
        if quantizer.options.training.epochs and quantizer.options.edge_bits is not None:
            raise ValueError("stdp learns with the quantizer's bits in both layers: leave out edge_bits, or use training: "
                             "{epochs: 0}")

    def train(self, model: FloatNetwork, data: PreparedData, seed: int = 0, **kwargs: Any) -> list[dict[str, Json]]:
        """Train a FloatNetwork in place -> history (list of dicts, one per epoch)."""
        from ..stdp import Precision, label_neurons, learn
        self.check(model.neuron, model.input_spec, model.shapes)
        history = learn(model, data, self.options, Precision(), self.options.epochs, seed, **kwargs)
        label_neurons(model, model, data, self.options, seed)
        return self._told(history, model, data)

    def train_codes(self, model: CodeNetwork, source: FloatNetwork, data: PreparedData, method: Method | None = None,
                    seed: int = 0, **kwargs: Any) -> tuple[CodeNetwork, list[dict[str, Json]]]:
        from ..models import CodeNetwork
        from ..stdp import RoundedPrecision, label_neurons, learn
        from ..training import fit
        epochs = model.quantizer.options.training.epochs
        if not epochs:
            return model, fit(model, data, model.quantizer.options.training, method=method, seed=seed, **kwargs)
        precision = RoundedPrecision(model, self.options)
        history = learn(source, data, self.options, precision, epochs, seed, beta=model.layers[0].neuron.leak.factor, **kwargs)
        model = CodeNetwork.from_float(source, model.quantizer)
        label_neurons(source, model, data, self.options, seed)
        model = CodeNetwork.from_float(source, model.quantizer)      # the last layer's range follows the labels
        return model, self._told(history, model, data)

    @staticmethod
    def _told(history: list[dict[str, Json]], model: FloatNetwork | CodeNetwork, data: PreparedData) -> list[dict[str, Json]]:
        from ..training import accuracy
        history[-1]["validation_accuracy"] = accuracy(model, data, "validation")
        return history
