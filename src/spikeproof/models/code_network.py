"""The quantized network, in integer codes."""
from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..architectures.shapes import pruned_shapes
from ..projections import INPUT
from ..spec import MAX_SHIFT, NeuronSpec, Store
from ..surrogates import Surrogate
from .code_layers import CodeLayer, SumLayer
from .float_network import FloatNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..annotations import Array, Entry, Json
    from ..architectures.shapes import Connection, LayerShape
    from ..detection import BoxHead
    from ..neurons.base import Neuron
    from ..projections import InputSpec
    from ..quantizers.base import Quantizer
    from .code_layers import Codes

    class Modules(nn.ModuleList):
        """CodeLayers; a SumLayer has of one what it is asked for."""
        def __getitem__(self, k: int) -> CodeLayer: ...  # type: ignore[override]
        def __iter__(self) -> Iterator[CodeLayer]: ...

__all__ = ["CodeNetwork"]


class CodeNetwork(nn.Module):
    """The quantized network; ``head`` as of :class:`FloatNetwork`.

    Parameters
    ----------
    layers : tuple of LayerShape
    neuron : a neuron of the catalog
    input_spec : InputSpec
    steps : int
    quantizer : Quantizer

    Raises
    ------
    ValueError
        If the neurons do not spike.
    """
    head: BoxHead | None
    layers: Modules
    # What spikeproof.api adds.
    chain: dict[str, Entry]
    classes: int
    history: list[dict[str, Json]]
    head = None

    def __init__(self, layers: tuple[LayerShape, ...], neuron: Neuron, input_spec: InputSpec, steps: int,
                 quantizer: Quantizer) -> None:
        super().__init__()
        if neuron.activation != "spike":
            raise ValueError(f"neurons must spike to be quantized, and {neuron.activation} neurons do not: use quantizer 'float'")
        quantizer.check(layers, neuron)
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.quantizer, self.surrogate = quantizer, Surrogate()
        self.layers, self.largest = nn.ModuleList(), {INPUT: input_spec.max_code}  # type: ignore[assignment]
        weighted, last = [shape.name for shape in layers if shape.weighted], layers[-1]
        # What is taken off all membranes of a layer is one code.
        one_unit = {shape.name for k, shape in enumerate(layers) if self.lateral_of(k) is not None}
        if not self.fires(len(layers) - 1):
            # A membrane readout compares codes of different channels, so they must share one unit, and so must its currents.
            one_unit |= {last.name} | {c.source for c in last.connections[:1] if c.identity}
        sums: dict[str, tuple[int, int]] = {}
        for k, shape in enumerate(layers):
            if shape.emits == "sums":
                read = [self._window(c, sums.get(c.source, quantizer.options.membrane.codes)) for c in shape.connections]
                sums[shape.name] = sum(lo for lo, _ in read), sum(hi for _, hi in read)
                self.largest[shape.name] = sums[shape.name][1]
                self.layers.append(SumLayer(shape, sums[shape.name]))
                continue
            if shape.emits == "spikes":                              # what a current may reach depends on the weights
                self.largest[shape.name] = 1
            per_channel = quantizer.options.scale == "channel" and shape.name not in one_unit
            units = [(1 / input_spec.max_code if c.source == INPUT else 1.0) / c.pooled for c in shape.connections]
            own = quantizer.of_layer(weighted.index(shape.name), len(weighted)) if shape.name in weighted else quantizer
            own = own if shape.weight_bits is None else quantizer.as_integers(shape.weight_bits)
            self.layers.append(CodeLayer(shape, units, own, per_channel, self.fires(k), self._threshold(k), self.lateral_of(k)))

    fires, neuron_of, lateral_of, _threshold = (FloatNetwork.fires, FloatNetwork.neuron_of, FloatNetwork.lateral_of,
                                                FloatNetwork._threshold)

    def _window(self, connection: Connection, stored: tuple[int, int]) -> tuple[int, int]:
        """(lo, hi) of what a connection of a sum adds up; ``stored`` is that of a stored code of its source."""
        lo, hi = stored if connection.reads == "membranes" else (0, self.largest[connection.source])
        return lo * connection.pooled, hi * connection.pooled

    @classmethod
    def from_float(cls, model: FloatNetwork, quantizer: Quantizer) -> CodeNetwork:
        """Fold batch norm into weights and offsets, then choose how membranes are stored."""
        net = cls(model.shapes, model.neuron, model.input_spec, model.steps, quantizer)
        net.head = model.head
        with torch.no_grad():
            for layer, source in zip(net.layers, model.layers):
                if layer.shape.emits == "sums":
                    continue
                if source.leak is not None:
                    beta, gain = source.leak()
                    layer.leak = model.neuron.leak_of(float(beta))
                    layer.gain.copy_(gain)
                if layer.shape.emits == "currents":
                    assert layer.shape.synapse is not None
                    layer.gain.fill_(layer.shape.synapse.gain)
                for weight, connection in zip(layer.weights, source.connections):
                    if not connection.connection.identity:
                        gain, offset = connection.affine()
                        weight.copy_(connection.weight * gain[:, None, None, None] * layer.gain)
                        layer.offset += offset * layer.gain
                layer.threshold.load_state_dict(source.threshold.state_dict())
                if layer.initial is not None:
                    assert source.initial is not None
                    layer.initial.copy_(source.initial)
                if layer.step is not None:
                    layer.step.copy_(layer.quantizer.scale(layer.weights[0], layer.per_channel))
        net.choose_stores()
        return net

    def codes(self) -> Iterator[Codes]:
        """:meth:`CodeLayer.codes` of every layer, in order (an iterator: a layer may be changed before the next is asked for)."""
        amplitudes: dict[tuple[str, str], float | torch.Tensor] = {(INPUT, "spikes"): 1.0}
        for layer in self.layers:
            yield (coded := layer.codes([amplitudes[c.source, c.reads] for c in layer.shape.connections]))
            amplitudes |= self._amplitudes(layer, coded[-1])

    @staticmethod
    def _amplitudes(layer: CodeLayer, value: torch.Tensor) -> dict[tuple[str, str], float | torch.Tensor]:
        """What a spike of a layer is worth, or a code of its currents; where membranes are read, a code counts as a number, and a
        sum of them as their mean."""
        worth = layer.amplitude(value)
        return {(layer.shape.name, "spikes"): worth,
                (layer.shape.name, "membranes"): worth if layer.shape.emits == "sums" else 1.0}

    @torch.no_grad()
    def choose_stores(self) -> None:
        """Fix each layer's NeuronSpec: the finest unit whose code range holds what the membrane must reach.

        That is the largest threshold where the layer fires (an unfired membrane is below it) or what its neurons start from, and
        the sum that the codes allow over all steps where it does not. A membrane of few levels counts in units of 2^m nearest to
        the threshold, as SpQuant-SNN has it, or to half of it: on MNIST the latter decides 0.4 points more of the validation
        images under ternary weights and membranes.
        """
        membrane = self.quantizer.options.membrane
        for k, (layer, (weights, bias, theta, _, value)) in enumerate(zip(self.layers, self.codes())):
            if layer.shape.emits == "sums":
                continue
            if layer.shape.stateless:
                continue
            if layer.shape.emits == "currents":
                assert layer.shape.synapse is not None
                leak, reset = layer.shape.synapse.leak, "soft"
            else:
                neuron = self.neuron_of(k)
                leak, reset = layer.leak or neuron.leak, neuron.reset
            leak = self.quantizer.leak(leak)
            if layer.fires:
                reach, (lo, hi) = float(theta.max()), membrane.codes
                if layer.initial is not None:
                    reach = max(reach, float((layer.initial / value[:, None, None]).abs().max()))
                shift = membrane.shift(float(theta.median()), reach)
            else:
                sums = bias.clone()
                for weight, connection in zip(weights, layer.shape.connections):
                    largest = self.largest[connection.source] * connection.pooled
                    sums += weight.clamp(min=0).reshape(len(sums), -1).sum(1) * largest
                # What a leak keeps: the sum of its powers.
                kept = sum(leak.factor**t for t in range(self.steps))
                bits = membrane.current_bits if layer.shape.emits == "currents" and membrane.current_bits else membrane.output_bits
                reach, hi = kept * float(sums.max().clamp(min=1)), (1 << bits - 1) - 1
                lo = -hi - 1
                shift = max(0, math.ceil(math.log2(reach / hi)))
            if shift > MAX_SHIFT:
                raise ValueError(f"layer {layer.shape.name}: its membranes must reach {reach:,.0f} times what a weight of 1 adds, "
                                 f"which {hi - lo + 1} codes cannot: thresholds are too large for the weights")
            rounding = membrane.rounding if shift else "floor"
            # Seeds of many ones: from a sparse one the LFSR takes a hundred steps to look random.
            seed = 0x9E3779B9 * (k + 1) % (1 << 32) if rounding == "stochastic" else 0
            store = Store(lo, hi, shift, rounding, seed)
            layer.neuron = NeuronSpec(leak, store, reset)
            if layer.shape.emits == "currents":
                self.largest[layer.shape.name] = store.hi

    @contextmanager
    def exact(self, dtype: torch.dtype) -> Iterator[CodeNetwork]:
        """Run in ``dtype`` with the codes that the module has now; back to float32 afterwards."""
        with torch.no_grad():
            for layer, (weights, *others) in zip(self.layers, self.codes()):
                layer.frozen = [w.clone() for w in weights], *(of.clone() for of in others)
        try:
            yield self.to(dtype)
        finally:
            self.float()
            for layer in self.layers:
                layer.frozen = None

    def trace(self, x: torch.Tensor) -> tuple[list[tuple[torch.Tensor | None, torch.Tensor]], torch.Tensor]:
        """Every layer's (spikes or None, stored codes), each [T, B, C, H, W], and the value of a code of the last one."""
        amplitudes: dict[tuple[str, str], float | torch.Tensor]
        out: list[tuple[torch.Tensor | None, torch.Tensor]]
        maps, amplitudes, out = {(INPUT, "spikes"): x}, {(INPUT, "spikes"): 1.0}, []
        for layer in self.layers:
            spikes, codes, value = layer(maps, amplitudes, self.steps, self.surrogate)
            maps[layer.shape.name, "spikes"] = spikes if layer.shape.emits == "spikes" else codes
            maps[layer.shape.name, "membranes"] = codes
            amplitudes |= self._amplitudes(layer, value)
            out.append((spikes, codes))
        return out, value

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """As :meth:`FloatNetwork.forward`; the drive of a step is what the membrane gained, in values, but for rounding."""
        trace, value = self.trace(x)
        spikes, codes = trace[-1]
        if self.neuron.readout == "membrane":
            neuron = self.layers[-1].neuron
            v = codes.flatten(2) * 2.0**neuron.store.shift * value
            logits, outputs = v[-1], torch.cat([v[:1], v[1:] - neuron.leak.factor * v[:-1]])
        else:
            assert spikes is not None
            outputs = spikes.flatten(2)
            logits = outputs.sum(0)
        return logits, [s for s, _ in trace if s is not None], outputs

    def decide(self, x: torch.Tensor) -> Array:
        """Predicted classes [B] by the integers of the readout; a tie goes to the lowest index."""
        spikes, codes = self.trace(x)[0][-1]
        score = codes[-1]
        if self.neuron.readout != "membrane":
            assert spikes is not None
            score = spikes.sum(0)
        return score.flatten(1).cpu().numpy().argmax(1)

    def outgoing(self, name: str) -> list[torch.Tensor]:
        """What leaves a layer: list of weights [C_next, C, kh, kw], values; ones [1, C, 1, 1] for an identity."""
        def weights(layer: CodeLayer, k: int, connection: Connection) -> torch.Tensor:
            if connection.identity:
                return torch.ones(1, connection.in_channels, 1, 1)
            return layer.weights[k].detach().transpose(0, 1) if connection.depthwise else layer.weights[k].detach()
        return [weights(layer, k, connection) for layer in self.layers for k, connection in enumerate(layer.shape.connections)
                if connection.source == name]

    def pruned(self, kept: dict[str, torch.Tensor]) -> CodeNetwork:
        """A smaller CodeNetwork.

        Parameters
        ----------
        kept : dict hidden layer -> indices of the channels that stay
        """
        return self.with_layers(pruned_shapes(self.shapes, {name: len(indices) for name, indices in kept.items()}), kept)

    def under(self, quantizer: Quantizer) -> CodeNetwork:
        """The same trained network under another quantizer, not trained on.

        Parameters
        ----------
        quantizer : Quantizer
        """
        net = self.with_layers(self.shapes, quantizer=quantizer)
        with torch.no_grad():
            for new, old in zip(net.layers, self.layers):
                if new.shape.emits != "sums" and not new.shape.stateless:
                    new.leak = old.neuron.leak
                if new.step is not None:
                    new.step.copy_(new.quantizer.scale(new.weights[0], new.per_channel))
        net.choose_stores()
        return net

    def with_layers(self, shapes: tuple[LayerShape, ...], kept: dict[str, torch.Tensor] | None = None,
                    quantizer: Quantizer | None = None) -> CodeNetwork:
        """A CodeNetwork of other layers, with the parameters of those that this one has too, by name; others are to be filled.

        Parameters
        ----------
        shapes : tuple of LayerShape
        kept : dict layer -> indices of its channels that stay; a layer that is not in it keeps all
        quantizer : Quantizer, or None for this network's own; with another, learned scales are left out
        """
        kept, before = kept or {}, {layer.shape.name: layer for layer in self.layers}
        net = CodeNetwork(shapes, self.neuron, self.input_spec, self.steps, quantizer or self.quantizer)
        net.head = self.head
        with torch.no_grad():
            for new in net.layers:
                old = before.get(new.shape.name)
                if old is None or new.shape.emits == "sums":
                    continue
                out = kept.get(old.shape.name, slice(None))
                for fresh, weight, connection in zip(new.weights, old.weights, old.shape.connections):
                    if not connection.identity:
                        inside = slice(None) if connection.depthwise else kept.get(connection.source, slice(None))
                        fresh.copy_(weight[out][:, inside])
                new.offset.copy_(old.offset[out])
                new.threshold.load_state_dict(old.threshold.kept(out))
                new.gain.copy_(old.gain)
                if old.initial is not None:
                    assert new.initial is not None
                    new.initial.copy_(old.initial[out])
                if old.step is not None and quantizer is None:
                    assert new.step is not None
                    new.step.copy_(old.step[out] if old.per_channel else old.step)
                new.neuron = old.neuron
        return net
