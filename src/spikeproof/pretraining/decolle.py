"""Training with local losses (DECOLLE): the supervised network of Q-SpiNN."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from ..training_options import ExactTrainingOptions
from .base import Pretraining

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Json
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..decolle import LocalLosses
    from ..models import CodeNetwork, FloatNetwork
    from ..neurons.base import Neuron
    from ..projections import InputSpec
    from ..training import Method

__all__ = ["Decolle"]


class Decolle(Pretraining):
    """Each hidden layer learns by a readout and a loss of its own, step by step (:mod:`spikeproof.decolle`).

    For neurons that reset softly, like ``synaptic`` with ``reset: soft``: what a reset takes off then decays with the membrane; the
    authors give it a constant of its own. ``burn_in`` steps have no loss. The network's last layer stays at its first, random
    weights, as all readouts do, unless ``trained_readout``. Gradients of a batch's steps are summed up to one update, where the
    authors update at every step. Defaults of ``training`` are those of the authors' DVS128 Gesture network (Adamax with betas 0 and
    0.95, a fifth of the rate every 30 epochs).
    """
    class Options(Options):
        kind: Literal["decolle"]
        burn_in: int = Field(10, ge=0)
        trained_readout: bool = False
        training: ExactTrainingOptions = ExactTrainingOptions(
            epochs=200, batch_size=72, optimizer="adamax", learning_rate=3.6e-4, schedule="step", step_epochs=30, step_factor=0.2,
            weight_decay=0.0, surrogate="sigmoid", surrogate_width=0.25)

    options: Options

    def check(self, neuron: Neuron, input_spec: InputSpec, shapes: tuple[LayerShape, ...]) -> None:
        super().check(neuron, input_spec, shapes)
        if neuron.reset != "soft" or neuron.readout != "membrane" or neuron.trained_threshold or not neuron.unit_spikes:
            raise ValueError("decolle wants neurons of a fixed threshold that reset softly and are read by their membrane, like "
                             "synaptic with reset: soft and readout: sum")
        for shape in shapes:
            if len(shape.connections) != 1 or shape.emits != "spikes" or shape.gate is not None or shape.attention is not None:
                raise ValueError(f"layer {shape.name}: decolle wants a chain of layers, each of which reads the one before alone")
            if shape is not shapes[-1] and shape.connections[0].norm:
                raise ValueError("decolle wants layers without batch normalisation (norm: false): it would mix steps")
        if len(shapes) < 2:
            raise ValueError("decolle wants a hidden layer at least")

    def losses(self, seed: int) -> LocalLosses:
        """What takes the place of the network's loss."""
        from ..decolle import LocalLosses
        return LocalLosses(self.options.burn_in, self.options.trained_readout, seed)

    def train(self, model: FloatNetwork, data: PreparedData, seed: int = 0, **kwargs: Any) -> list[dict[str, Json]]:
        """Train a FloatNetwork in place -> history (list of dicts, one per epoch)."""
        from ..training import fit
        return fit(model, data, self.options.training, seed=seed, method=self.losses(seed), **kwargs)

    def train_codes(self, model: CodeNetwork, source: FloatNetwork, data: PreparedData, method: Method | None = None,
                    seed: int = 0, **kwargs: Any) -> tuple[CodeNetwork, list[dict[str, Json]]]:
        from ..training import Together, fit
        methods = [self.losses(seed)] + ([] if method is None else [method])
        return model, fit(model, data, model.quantizer.options.training, seed=seed, method=Together(methods), **kwargs)
