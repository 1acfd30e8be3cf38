"""The network in full precision."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .. import winograd
from ..neuron_steps import float_steps
from ..neurons.base import Stateless
from ..projections import INPUT
from ..surrogates import Surrogate, filtered
from ..thresholds import FixedThreshold
from .operations import attended, convolve, folded, gated, initial_of, last_use, pooled, total, weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from ..annotations import Array, Entry, Json
    from ..architectures.shapes import Connection, LayerShape
    from ..detection import BoxHead
    from ..leaks import TrainedLeak
    from ..neurons.base import Inhibition, Neuron, Synapse
    from ..projections import InputSpec
    from ..thresholds import Threshold
    from .code_network import CodeNetwork

    #: By source: (tensor, amplitude).
    Maps: TypeAlias = Mapping[str, tuple[torch.Tensor, float | torch.Tensor]]
    #: Told (k, drive, output) of layers of neurons.
    Seen: TypeAlias = Callable[[int, torch.Tensor, torch.Tensor], object]
    #: Of each layer: output, amplitude, membranes.
    Walked: TypeAlias = tuple[torch.Tensor, float | torch.Tensor, torch.Tensor | None]

__all__ = ["FloatNetwork"]


class FloatConnection(nn.Module):
    """Pool, convolve, normalise. Values.

    Parameters
    ----------
    connection : Connection, no identity
    norm : bool, batch normalisation (else a bias)
    """
    def __init__(self, connection: Connection, norm: bool) -> None:
        super().__init__()
        self.connection = connection
        self.weight = weight_of(connection)
        if not self.weight.is_meta:                                  # shapes alone draw no numbers: torch loads compilers for it
            nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(connection.out_channels) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(connection.out_channels))

    def forward(self, x: torch.Tensor, amplitude: float | torch.Tensor) -> torch.Tensor:
        """Source [T or 1, B, C, H, W] whose entries count ``amplitude`` each -> current [T or 1, B, C_out, Ho, Wo]."""
        def one(x: torch.Tensor) -> torch.Tensor:
            weight: torch.Tensor = self.weight
            x = pooled(x, self.connection)
            if not (isinstance(amplitude, float) and amplitude == 1):
                # What is smaller is scaled: of a dense layer on one image a step, not the weights.
                x, weight = (x * amplitude, weight) if x.numel() < weight.numel() else (x, weight * amplitude)
            way = winograd.convolve if winograd.takes(x, self.connection) else convolve
            x = way(x, weight, self.bias, self.connection)
            return x if self.norm is None else self.norm(x)
        return folded(x, one)

    def affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(gain [C], offset [C]): it is gain * convolution + offset, with the running statistics."""
        if self.norm is None:
            assert self.bias is not None
            return torch.ones_like(self.bias), self.bias
        assert self.norm.running_var is not None and self.norm.running_mean is not None
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return gain, self.norm.bias - gain * self.norm.running_mean


class Addition(nn.Module):
    """A residual addition: the values of the (pooled) source themselves."""
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def forward(self, x: torch.Tensor, amplitude: float | torch.Tensor) -> torch.Tensor:
        return folded(x, lambda x: pooled(x, self.connection)).expand(-1, -1, self.connection.out_channels, -1, -1) * amplitude


class FloatLayer(nn.Module):
    """The connections of a layer and its thresholds.

    Parameters
    ----------
    shape : LayerShape
    norm : bool, batch normalisation in each connection that wants it (else a bias)
    threshold : a module of :mod:`spikeproof.thresholds`
    leak : a module of :mod:`spikeproof.leaks`, or None where the leak is not trained

    Members
    -------
    initial : [C, H, W], membranes at the start of an image, values; not trained
    """
    initial: torch.Tensor | None
    connections: Sequence[FloatConnection]                           # or an Addition

    def __init__(self, shape: LayerShape, norm: bool, threshold: Threshold, leak: TrainedLeak | None = None) -> None:
        super().__init__()
        self.shape, self.threshold, self.leak = shape, threshold, leak
        self.register_buffer("initial", initial_of(shape))
        self.connections = nn.ModuleList(  # type: ignore[assignment]
            Addition(c) if c.identity else FloatConnection(c, norm and c.norm) for c in shape.connections)

    def forward(self, maps: Maps) -> torch.Tensor:
        """dict source -> (tensor, amplitude) -> current [T or 1, B, C, H, W]."""
        if self.shape.attention is not None:
            return attended(maps, self.shape.attention)
        return total([connection(*maps[connection.connection.source]) for connection in self.connections])


class FloatNetwork(nn.Module):
    """The network in full precision.

    Members
    -------
    head : :class:`spikeproof.detection.BoxHead` where the readout are boxes, or None where it is a class
    membrane_bound : (lower bound of membranes in values, whether they are rounded to integers), in evaluation; or None

    Parameters
    ----------
    layers : tuple of LayerShape
    neuron : a neuron of the catalog (leak, beta, reset, readout, activation, threshold())
    input_spec : InputSpec; codes are scaled to 0 .. 1
    steps : int
    """
    head: BoxHead | None
    membrane_bound: tuple[float, bool] | None
    layers: Sequence[FloatLayer]
    # What spikeproof.api adds.
    chain: dict[str, Entry]
    classes: int
    history: list[dict[str, Json]]
    head = membrane_bound = None

    def __init__(self, layers: tuple[LayerShape, ...], neuron: Neuron, input_spec: InputSpec, steps: int) -> None:
        super().__init__()
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.surrogate = Surrogate()
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            FloatLayer(shape, k < len(layers) - 1, self._threshold(k),
                       self.neuron_of(k).trained_leak() if shape.emits == "spikes" else None)
            for k, shape in enumerate(layers))

    def neuron_of(self: FloatNetwork | CodeNetwork, k: int) -> Neuron:
        """The neuron of layer k, or of the currents that drive it."""
        if self.shapes[k].stateless:
            return Stateless()
        neuron = self.neuron.of(self.shapes[k].name)
        return neuron if self.fires(k) or self.shapes[k].emits != "spikes" else neuron.of_readout()

    def _threshold(self: FloatNetwork | CodeNetwork, k: int) -> Threshold:
        """A new threshold module for layer k; one that is not used where the layer does not fire."""
        return self.neuron_of(k).threshold(self.steps, self.shapes[k].out_channels) if self.fires(k) else FixedThreshold()

    def lateral_of(self: FloatNetwork | CodeNetwork, k: int) -> Inhibition | None:
        """Inhibition among the neurons of layer k, or None; only spikes inhibit."""
        return self.neuron_of(k).lateral if self.fires(k) else None

    def fires(self: FloatNetwork | CodeNetwork, k: int) -> bool:
        """Whether layer k spikes: all but sums and currents, and the last under a membrane readout; none of a ReLU network."""
        return self.neuron.activation == "spike" and self.shapes[k].emits == "spikes" \
            and (k < len(self.shapes) - 1 or self.neuron.readout == "spike_count")

    def walk(self, x: torch.Tensor, seen: Seen | None = None) -> Iterator[Walked]:
        """Layer by layer: (output, amplitude, membranes); ``seen`` is told (k, drive, output) of layers of neurons.

        The output is spikes [T, B, C, H, W] of value ``amplitude``, or sums or currents in values; of a ReLU network activations
        [T or 1, B, C, H, W], the last layer's as they are; of a last layer without thresholds its drive [T or 1, B, C, H, W].
        Membranes are those after the last step [B, C, H, W], or None.
        """
        maps: dict[str, tuple[torch.Tensor, float | torch.Tensor]]
        v: torch.Tensor | None
        maps, uses = {INPUT: (x, 1 / self.input_spec.max_code)}, last_use(self.shapes)
        for k, layer in enumerate(self.layers):
            drive = layer(maps)
            if layer.shape.gate is not None:
                drive = gated(drive, maps[layer.shape.gate][0], layer.shape)
            for source in [name for name in maps if uses[name] == k]:
                del maps[source]
            if layer.shape.emits == "sums":
                out, amplitude, v = drive, 1.0, None
            elif layer.shape.emits == "currents":
                out, amplitude, v = self._filtered(drive, layer.shape.synapse), 1.0, None
            elif self.neuron.activation == "relu":
                out, amplitude, v = drive if k == len(self.layers) - 1 else drive.relu(), 1.0, None
            else:
                theta, amplitude = layer.threshold()
                beta = None
                if layer.leak is not None:
                    beta, gain = layer.leak()
                    drive = drive * gain
                out, v = float_steps(drive, theta, self.steps, self.neuron_of(k), self.fires(k), self.surrogate,
                                     layer.threshold.paths, beta, layer.initial, self.membrane_bound if self.fires(k) else None,
                                     self.lateral_of(k))
                out = drive if out is None else out
                if seen is not None:
                    seen(k, drive, out)
            if layer.shape.name in uses:
                maps[layer.shape.name] = out, amplitude
            yield out, amplitude, v

    def first_membranes(self, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each layer that fires: (spikes [T, B, C, H, W], membranes after integrating in the first step [B, C, H, W])."""
        maps: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def seen(k: int, drive: torch.Tensor, out: torch.Tensor) -> None:
            if self.fires(k) and not self.shapes[k].stateless:
                initial = self.layers[k].initial
                first = drive[0] if initial is None else drive[0] + self.neuron_of(k).beta * initial
                maps[k] = out, first
        for _ in self.walk(x, seen):
            pass
        return list(maps.values())

    def _filtered(self, drive: torch.Tensor, synapse: Synapse | None) -> torch.Tensor:
        """Drive [T or 1, B, C, H, W] -> currents [T, B, C, H, W] of the synapses' time constant."""
        assert synapse is not None
        drive = drive * synapse.gain
        return filtered(drive.expand(self.steps, *drive.shape[1:]), synapse.beta)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """Input codes [T or 1, B, C, H, W] -> (logits [B, classes], spikes of each firing layer, output of each step).

        The output of a step, [T or 1, B, classes], are the last layer's spikes, or its drive where it has no thresholds.
        """
        spikes = []
        for k, (out, _, v) in enumerate(self.walk(x)):               # noqa: B007 - the last layer's is what is read
            if self.fires(k):
                spikes.append(out)
        if self.neuron.activation == "relu":
            logits = out.mean(0)
        elif self.neuron.readout == "membrane":
            assert v is not None
            logits = v
        else:
            logits = out.sum(0)
        return logits.flatten(1), spikes, out.flatten(2)

    def decide(self, x: torch.Tensor) -> Array:
        """Predicted classes [B]; a tie goes to the lowest index."""
        return self(x)[0].cpu().numpy().argmax(1)
