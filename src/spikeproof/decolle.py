"""Deep continuous local learning (DECOLLE; Kaiser, Mostafa and Neftci, Frontiers in Neuroscience 14:424, 2020).

Every hidden layer has a readout of its own, and a loss at every step. Gradients go neither through layers nor through time: that of
a weight is the error at a step, through the layer's readout and the surrogate, times the trace of the weight's input, which is what
synapses and membrane make of the spikes before it. Those filters are linear, so they may follow the weights: autograd through the
filtered drive alone, with spikes, resets and inputs held, is that product summed over steps.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .augmentation import Targets
from .neuron_steps import code_steps, float_steps, leaked
from .surrogates import SURROGATES, filtered
from .training import Method, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from .detection import BoxTargets
    from .models import CodeNetwork, FloatNetwork
    from .training import Losses, Network

    #: Source -> what it gives, and the value of a spike.
    Maps: TypeAlias = dict[str, tuple[torch.Tensor, float | torch.Tensor]]

__all__ = ["LocalLosses", "local_spikes"]


def _through(spikes: torch.Tensor, slope: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
    """Spikes whose gradient is ``slope`` times that of ``linear``."""
    return spikes + slope.detach() * (linear - linear.detach())


def _float_spikes(model: FloatNetwork, maps: Maps) -> Iterator[tuple[torch.Tensor, bool]]:
    """Layer by layer of a FloatNetwork: (spikes with their local gradient, or the last layer's drive; whether they are spikes)."""
    for k, layer in enumerate(model.layers):
        drive = layer(maps)
        if layer.shape.emits == "currents":
            maps[layer.shape.name] = model._filtered(drive, layer.shape.synapse), 1.0
            continue
        if not model.fires(k):
            yield drive, False
            return
        neuron, (theta, amplitude) = model.neuron_of(k), layer.threshold()
        linear = filtered(drive.expand(model.steps, *drive.shape[1:]), neuron.beta)
        with torch.no_grad():
            s, _ = float_steps(drive, theta, model.steps, neuron, True, model.surrogate, initial=layer.initial)
            assert s is not None                                     # the layer fires
            # What resets have taken off: it decays with the membrane.
            spent = filtered(torch.cat([torch.zeros_like(s[:1]), s[:-1]]) * (neuron.beta * float(theta)), neuron.beta)
            slope = SURROGATES[model.surrogate.name](linear - spent - float(theta), model.surrogate.width)
        spikes = _through(s, slope, linear)
        yield spikes, True
        maps[layer.shape.name] = (spikes if k == len(model.layers) - 2 else s), amplitude


def _code_spikes(model: CodeNetwork, inputs: Maps) -> Iterator[tuple[torch.Tensor, bool]]:
    """The same of a CodeNetwork: rounding counts as the identity."""
    amplitudes: dict[tuple[str, str], float | torch.Tensor] = {("input", "spikes"): 1.0}
    maps = {(name, "spikes"): x for name, (x, _) in inputs.items()}
    for k, layer in enumerate(model.layers):
        weights, bias, theta, initial, value = layer.codes([amplitudes[c.source, c.reads] for c in layer.shape.connections])
        acc = layer.current(maps, weights, bias)
        amplitudes |= model._amplitudes(layer, value)
        if k == len(model.layers) - 1:
            yield acc * value[:, None, None], False
            return
        neuron, name = layer.neuron, layer.shape.name
        linear = filtered(acc.expand(model.steps, *acc.shape[1:]), neuron.leak.factor)
        unit = 2.0**neuron.store.shift
        level = layer.threshold()[0].reshape(-1, 1, 1, 1, 1)
        with torch.no_grad():
            s, codes = code_steps(acc, theta, level.reshape(-1, 1), model.steps, neuron, layer.draws(model.steps, acc), layer.fires,
                                  model.surrogate, (), initial)
        if layer.shape.emits == "currents":
            maps[name, "spikes"] = maps[name, "membranes"] = _through(codes, torch.full_like(codes, 1 / unit), linear)
            continue
        with torch.no_grad():
            start = initial.expand_as(codes[0])[None]
            h = leaked(neuron.leak, torch.cat([start, codes[:-1]]) * unit) + acc
            along = theta.reshape(len(theta), 1, -1, 1, 1)
            slope = SURROGATES[model.surrogate.name]((h / along - 1) * level, model.surrogate.width) * level / along
        assert s is not None                                         # as above
        spikes = _through(s, slope, linear)
        yield spikes, True
        maps[name, "spikes"] = spikes if k == len(model.layers) - 2 else s


def local_spikes(model: Network, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, bool]]:
    """Spikes of each hidden layer [T, B, C, H, W], with the gradient of their own layer's parameters alone, then the last layer's
    drive [T, B, classes, 1, 1] in values.

    Parameters
    ----------
    model : FloatNetwork or CodeNetwork: a chain, soft reset, a last layer without thresholds
    x : input codes [T or 1, B, C, H, W]
    """
    from .models import CodeNetwork
    if isinstance(model, CodeNetwork):
        return _code_spikes(model, {"input": (x, 1.0)})
    return _float_spikes(model, {"input": (x, 1 / model.input_spec.max_code)})


class LocalLosses(Method):
    """The losses of all hidden layers in place of the network's.

    The readouts of all but the last hidden layer exist in training only: fixed random weights, drawn by the seed. The last hidden
    layer is read by the network's own last layer, fixed at its first weights or trained.

    Parameters
    ----------
    burn_in : int, steps at the start that have no loss
    trains_readout : bool, whether the last layer is trained
    seed : int
    """
    readouts: list[torch.Tensor]

    def __init__(self, burn_in: int, trains_readout: bool, seed: int) -> None:
        self.burn_in, self.trains_readout, self.seed, self.readouts = burn_in, trains_readout, seed, []

    def start(self, model: Network) -> None:
        draws = torch.Generator().manual_seed(seed_of(self.seed, "readouts"))
        hidden = [shape for shape in model.shapes[:-1] if shape.emits == "spikes"][:-1]
        classes = model.shapes[-1].neurons
        device = next(model.parameters()).device
        self.readouts = [((torch.rand(classes, shape.neurons, generator=draws) * 2 - 1) / shape.neurons**0.5).to(device)
                         for shape in hidden]
        for parameter in model.layers[-1].parameters():
            parameter.requires_grad_(self.trains_readout)

    def loss(self, model: Network, x: torch.Tensor, targets: Targets | BoxTargets) -> Losses:
        """(sum of the layers' smooth absolute errors, logits [B, classes], list of spikes)."""
        every: list[torch.Tensor] = []
        total: float | torch.Tensor = 0.0
        burn = min(self.burn_in, model.steps - 1)
        assert isinstance(targets, Targets)

        def error(outputs: torch.Tensor) -> torch.Tensor:
            wanted = targets.wanted(outputs[0])
            return F.smooth_l1_loss(outputs[burn:], wanted.expand_as(outputs[burn:]))
        for k, (out, spikes) in enumerate(local_spikes(model, x)):
            if not spikes:
                outputs = out.flatten(2).expand(model.steps, -1, -1)
                total = total + error(outputs)
            else:
                every.append(out.detach())
                if k < len(self.readouts):
                    total = total + error(out.flatten(2) @ self.readouts[k].T)
        assert isinstance(total, torch.Tensor)
        return total, outputs.detach().sum(0), every
