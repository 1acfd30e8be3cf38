"""Conversion of an artificial network (SNN-Calibration: Li et al., "A Free Lunch From ANN", ICML 2021)."""
from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from ..training_options import TrainingOptions
from .base import Pretraining

if TYPE_CHECKING:
    from typing import Any

    import torch

    from ..annotations import Json, Say
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork
    from ..models.float_network import FloatLayer
    from ..neurons.base import Neuron
    from ..neurons.relu import Relu
    from ..projections import InputSpec

__all__ = ["Conversion", "best_threshold", "mean_error"]


class Conversion(Pretraining):
    """Train the ReLU twin, then make its activations spike counts: threshold balancing, and calibration of the bias.

    * Threshold of a layer: of ``candidates`` values from the largest activation downwards, the one with the least mean squared
      error of clamp(floor(T a / V), 0, T) V / T, the count that a constant input gives, on ``images`` training images that the
      seed draws.
    * Shift: V / (2 T) is added at every step, half a threshold in all, so that counts round instead of flooring.
    * Bias calibration: layer by layer, each channel's mean activation in the spiking network is made that of the twin.
    * Potential calibration (``potentials``): likewise for each neuron, by the membrane that it starts from, T times the mean error.
      Hardware keeps an initial membrane per neuron for it. The authors' *light* pipeline calibrates biases, their *advanced* one
      potentials in place of biases (``calibrate: false``) and weights, which are not calibrated here.

    The neurons must have a threshold per layer (``atif_u``); batch normalisation keeps what it learned.
    """
    class Options(Options):
        kind: Literal["conversion"]
        images: int = Field(256, ge=1)
        candidates: int = Field(95, ge=1, le=100)
        shift: bool = True
        calibrate: bool = True
        potentials: bool = False
        training: TrainingOptions = TrainingOptions()

    options: Options

    def check(self, neuron: Neuron, input_spec: InputSpec, shapes: tuple[LayerShape, ...]) -> None:
        super().check(self._twin(), input_spec, shapes)
        if not neuron.trained_threshold:
            raise ValueError("neurons must be atif_u to be converted to: soft reset, and one threshold per layer that can be set")

    @staticmethod
    def _twin() -> Relu:
        from ..neurons.relu import Relu
        return Relu(Relu.Options(kind="relu"))

    def train(self, model: FloatNetwork, data: PreparedData, seed: int = 0, say: Say = print,
              **kwargs: Any) -> list[dict[str, Json]]:
        """Train and convert into a FloatNetwork in place -> history of the twin's training (list of dicts, one per epoch).

        The last epoch's ``validation_accuracy`` is that of the converted network, ``twin_validation_accuracy`` that of the twin.

        Raises
        ------
        ValueError
            If the neurons have no threshold that can be set.
        """
        import torch

        from ..convert import to_codes
        from ..models import FloatNetwork
        from ..training import accuracy, fit, seed_of
        self.check(model.neuron, model.input_spec, model.shapes)
        twin = FloatNetwork(model.shapes, self._twin(), model.input_spec, model.steps)
        twin.load_state_dict(model.state_dict(), strict=False)
        history = fit(twin, data, self.options.training, seed=seed, say=say, **kwargs)
        model.load_state_dict(twin.state_dict(), strict=False)
        model.eval()
        twin.eval()
        drawn = torch.randperm(len(data.frames["train"]), generator=torch.Generator().manual_seed(seed_of(seed, "calibration")))
        x = to_codes(data.frames["train"][drawn[:self.options.images].sort().values.numpy()], data.input.constant)
        with torch.no_grad():
            wanted = [out.mean(0) for out, _, _ in twin.walk(x)]
            for k, layer in enumerate(model.layers):
                if model.fires(k):
                    layer.threshold.threshold.fill_(best_threshold(wanted[k], model.steps, self.options.candidates))
                    if self.options.shift:
                        _bias(layer).add_(layer.threshold.threshold / (2 * model.steps))
            for k, layer in enumerate(model.layers):
                if self.options.calibrate and model.fires(k):
                    _bias(layer).add_(mean_error(model, x, k, wanted[k]).mean((1, 2)))
                if self.options.potentials and model.fires(k):
                    assert layer.initial is not None
                    layer.initial.add_(model.steps * mean_error(model, x, k, wanted[k]))
        before, after = history[-1]["validation_accuracy"], accuracy(model, data, "validation")
        history[-1] |= {"validation_accuracy": after, "twin_validation_accuracy": before}
        say(f"validation accuracy of the artificial network {100 * before:.1f} %, converted {100 * after:.1f} %")
        return history


def mean_error(model: FloatNetwork, x: torch.Tensor, k: int, wanted: torch.Tensor) -> torch.Tensor:
    """What the mean value of layer k's spikes lacks, [C, H, W], over images and steps; ``wanted`` is [B, C, H, W]."""
    spikes, amplitude, _ = next(islice(model.walk(x), k, None))
    return (wanted - spikes.mean(0) * amplitude).mean(0)


def _bias(layer: FloatLayer) -> torch.Tensor:
    first = layer.connections[0]
    bias = first.bias if first.norm is None else first.norm.bias
    assert bias is not None
    return bias


def best_threshold(activations: torch.Tensor, steps: int, candidates: int) -> float:
    """The threshold with the least squared error of the counts' values (find_threshold_mse of the published code).

    Parameters
    ----------
    activations : tensor, any shape, values
    steps : int
    candidates : int, thresholds that are tried: the largest activation times 1, 0.99, 0.98, ...
    """
    largest = float(activations.max())
    if largest <= 0:
        return 1.0                                                   # a silent layer stays silent

    def error(v: float) -> float:
        counts = (activations * (steps / v)).floor().clamp(0, steps)
        return float(((counts * (v / steps) - activations) ** 2).mean())
    return min((largest * (1 - 0.01 * i) for i in range(candidates)), key=error)
