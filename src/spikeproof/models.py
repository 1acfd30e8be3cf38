"""Torch networks: in full precision (FloatNetwork) and in integer codes (CodeNetwork).

Both keep tensors as [T, B, C, H, W] and follow the five steps of :mod:`spikeproof.spec`. A constant input
is [1, B, C, H, W]: its currents are computed once and used at every step.

A CodeNetwork computes the *same integers in training and in evaluation* as the exported network: weights,
biases, thresholds and membranes are integer-valued floats, exact below 2^24 in float32. Only gradients
see real numbers (straight-through for every rounding, a surrogate for the spike).
"""
import math
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from .architectures.shapes import pruned_shapes
from .codecs import parse_codec
from .fixed_point import lfsr_draws
from .network import INPUT
from .neuron_steps import code_steps, float_steps
from .neurons.base import Stateless
from .quantizers.base import round_ste, straight_through
from .spec import Leak, NeuronSpec, Store
from .surrogates import Surrogate, filtered
from .thresholds import FixedThreshold

__all__ = ["CodeNetwork", "FloatNetwork"]

#: Width of an identity's weights: the same for all, so that memory does not depend on what was trained.
IDENTITY_BITS = 16
LARGEST_IDENTITY = (1 << IDENTITY_BITS - 1) - 1
#: Neurons without memory; what their store holds is never read.
STATELESS = NeuronSpec(Stateless.leak, Store(-1, 1), Stateless.reset)


def _pooled(x, connection):
    """x [M, C, H, W] -> pooled, sums as means (values) or maxima."""
    if connection.pool == 1:
        return x
    return (F.avg_pool2d if connection.pool_kind == "sum" else F.max_pool2d)(x, connection.pool)


def _counted(x, connection):
    """Codes x [M, C, H, W] -> pooled codes: the contract's sums, or maxima."""
    if connection.pool > 1 and connection.pool_kind == "sum":
        return F.avg_pool2d(x, connection.pool, divisor_override=1)
    return _pooled(x, connection)


def _convolve(x, weight, bias, connection):
    """x [M, C, H, W] -> [M, C_out, Ho, Wo]; a dense layer is one matrix product."""
    if connection.kernel == tuple(x.shape[-2:]) and connection.padding == 0 and not connection.depthwise:
        return F.linear(x.flatten(1), weight.flatten(1), bias)[..., None, None]
    # Channels last: half the time of a convolution with its backward pass, and of a normalisation.
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, connection.stride, connection.padding,
                    groups=connection.in_channels if connection.depthwise else 1)


def _folded(x, operation):
    """Apply an operation on [M, ...] to x [T, B, ...] with time folded into the batch."""
    out = operation(x.flatten(0, 1))
    return out.unflatten(0, x.shape[:2])


def _sum(currents):
    """Sum of tensors [T or 1, B, ...]."""
    total = currents[0]
    for current in currents[1:]:
        total = total + current
    return total


def _last_use(shapes):
    """dict source -> index of the last layer that reads it."""
    return {name: k for k, shape in enumerate(shapes) for name in shape.sources}


def _attended(maps, attention):
    """Drive [T or 1, B, C, H, W] of an attention, from spikes in values."""
    query, key, value = (maps[name][0] * maps[name][1] for name in (attention.query, attention.key, attention.value))
    def tokens(x):
        """[T, B, heads, channels of a head, tokens]"""
        return x.flatten(-2).unflatten(2, (attention.heads, -1))
    # K^T V first: as many numbers as channels of a head squared.
    out = (tokens(value) @ tokens(key).transpose(-1, -2)) @ tokens(query)
    return attention.scale * out.flatten(2, 3).reshape(query.shape)


def _gated(drive, gates, shape):
    """Drive [T or 1, B, C, H, W] where gates [T, B, C or 1, h, w] are open, else 0; each gate serves a block of positions."""
    rows, columns = (n // m for n, m in zip(shape.out_map, gates.shape[-2:]))
    return drive * gates.repeat_interleave(rows, -2).repeat_interleave(columns, -1)


def _weight_of(connection):
    return nn.Parameter(torch.empty(connection.out_channels, connection.fan_in, *connection.kernel))


def _initial_of(shape):
    """Zeros for the membranes at the start of an image, [C, H, W]; None where there are none, or what keeps them is no neuron."""
    return torch.zeros(shape.out_channels, *shape.out_map) if shape.emits == "spikes" and not shape.stateless else None


class FloatConnection(nn.Module):
    """Pool, convolve, normalise. Values.

    Parameters
    ----------
    connection : Connection, no identity
    norm : bool, batch normalisation (else a bias)
    """
    def __init__(self, connection, norm):
        super().__init__()
        self.connection = connection
        self.weight = _weight_of(connection)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(connection.out_channels) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(connection.out_channels))

    def forward(self, x, amplitude):
        """Source [T or 1, B, C, H, W] whose entries count ``amplitude`` each -> current [T or 1, B, C_out, Ho, Wo]."""
        weight = self.weight if isinstance(amplitude, float) and amplitude == 1 else self.weight * amplitude

        def one(x):
            x = _convolve(_pooled(x, self.connection), weight, self.bias, self.connection)
            return x if self.norm is None else self.norm(x)
        return _folded(x, one)

    def affine(self):
        """(gain [C], offset [C]): it is gain * convolution + offset, with the running statistics."""
        if self.norm is None:
            return torch.ones_like(self.bias), self.bias
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return gain, self.norm.bias - gain * self.norm.running_mean


class Addition(nn.Module):
    """A residual addition: the values of the (pooled) source themselves."""
    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    def forward(self, x, amplitude):
        return _folded(x, lambda x: _pooled(x, self.connection)).expand(-1, -1, self.connection.out_channels, -1, -1) * amplitude


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
    def __init__(self, shape, norm, threshold, leak=None):
        super().__init__()
        self.shape, self.threshold, self.leak = shape, threshold, leak
        self.register_buffer("initial", _initial_of(shape))
        self.connections = nn.ModuleList(Addition(c) if c.identity else FloatConnection(c, norm and c.norm)
                                         for c in shape.connections)

    def forward(self, maps):
        """dict source -> (tensor, amplitude) -> current [T or 1, B, C, H, W]."""
        if self.shape.attention is not None:
            return _attended(maps, self.shape.attention)
        return _sum([connection(*maps[connection.connection.source]) for connection in self.connections])


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
    head = membrane_bound = None

    def __init__(self, layers, neuron, input_spec, steps):
        super().__init__()
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.surrogate = Surrogate()
        self.layers = nn.ModuleList(
            FloatLayer(shape, k < len(layers) - 1, self._threshold(k),
                       self.neuron_of(k).trained_leak() if shape.emits == "spikes" else None)
            for k, shape in enumerate(layers))

    def neuron_of(self, k):
        """The neuron of layer k, or of the currents that drive it."""
        if self.shapes[k].stateless:
            return Stateless()
        neuron = self.neuron.of(self.shapes[k].name)
        return neuron if self.fires(k) or self.shapes[k].emits != "spikes" else neuron.of_readout()

    def _threshold(self, k):
        """A new threshold module for layer k; one that is not used where the layer does not fire."""
        return self.neuron_of(k).threshold(self.steps, self.shapes[k].out_channels) if self.fires(k) else FixedThreshold()

    def lateral_of(self, k):
        """Inhibition among the neurons of layer k, or None; only spikes inhibit."""
        return self.neuron_of(k).lateral if self.fires(k) else None

    def fires(self, k):
        """Whether layer k spikes: all but sums and currents, and the last under a membrane readout; none of a ReLU network."""
        return self.neuron.activation == "spike" and self.shapes[k].emits == "spikes" \
            and (k < len(self.shapes) - 1 or self.neuron.readout == "spike_count")

    def walk(self, x, seen=None):
        """Layer by layer: (output, amplitude, membranes); ``seen`` is told (k, drive, output) of layers of neurons.

        The output is spikes [T, B, C, H, W] of value ``amplitude``, or sums or currents in values; of a ReLU network activations
        [T or 1, B, C, H, W], the last layer's as they are; of a last layer without thresholds its drive [T or 1, B, C, H, W].
        Membranes are those after the last step [B, C, H, W], or None.
        """
        maps, last_use = {INPUT: (x, 1 / self.input_spec.max_code)}, _last_use(self.shapes)
        for k, layer in enumerate(self.layers):
            drive = layer(maps)
            if layer.shape.gate is not None:
                drive = _gated(drive, maps[layer.shape.gate][0], layer.shape)
            for source in [name for name in maps if last_use[name] == k]:
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
            if layer.shape.name in last_use:
                maps[layer.shape.name] = out, amplitude
            yield out, amplitude, v

    def first_membranes(self, x):
        """Of each layer that fires: (spikes [T, B, C, H, W], membranes after integrating in the first step [B, C, H, W])."""
        maps = {}

        def seen(k, drive, out):
            if self.fires(k) and not self.shapes[k].stateless:
                first = drive[0] if self.layers[k].initial is None else drive[0] + self.neuron_of(k).beta * self.layers[k].initial
                maps[k] = out, first
        for _ in self.walk(x, seen):
            pass
        return list(maps.values())

    def _filtered(self, drive, synapse):
        """Drive [T or 1, B, C, H, W] -> currents [T, B, C, H, W] of the synapses' time constant."""
        drive = drive * synapse.gain
        return filtered(drive.expand(self.steps, *drive.shape[1:]), synapse.beta)

    def forward(self, x):
        """Input codes [T or 1, B, C, H, W] -> (logits [B, classes], spikes of each firing layer, output of each step).

        The output of a step, [T or 1, B, classes], are the last layer's spikes, or its drive where it has no thresholds.
        """
        spikes = []
        for k, (out, _, v) in enumerate(self.walk(x)):               # noqa: B007 - the last layer's is what is read
            if self.fires(k):
                spikes.append(out)
        if self.neuron.activation == "relu":
            logits = out.mean(0)
        else:
            logits = v if self.neuron.readout == "membrane" else out.sum(0)
        return logits.flatten(1), spikes, out.flatten(2)

    def decide(self, x):
        """Predicted classes [B]; a tie goes to the lowest index."""
        return self(x)[0].cpu().numpy().argmax(1)


class CodeLayer(nn.Module):
    """A quantized layer in codes.

    The scale of the first connection's weights sets the unit of the layer: what one code is worth. The other connections are in
    that unit too, as plain integers: convolutions of the quantizer's ``shortcut_bits``, identities of ``IDENTITY_BITS``. Where the
    first one is an identity, as of a layer that currents drive, the unit is what a code of its source is worth.

    Parameters
    ----------
    shape : LayerShape
    units : list of float, per connection: value of one code of the (summed) integer input, but for the source's amplitude
    quantizer : Quantizer
    per_channel : bool, one scale per output channel
    fires : bool, whether the layer has thresholds
    threshold : a module of :mod:`spikeproof.thresholds`
    lateral : Inhibition among the neurons, or None

    Members
    -------
    weights : per connection [C_out, C_in, kh, kw], value, or empty for an identity; offset : [C_out], value
    step : [C_out or 1, 1, 1, 1], value, where the quantizer learns its scale or keeps the one from before training
    gain : scalar, what a trained leak multiplies the input by (folded into weights and offset, not into identities)
    leak : Leak of the contract, where it was trained, or None
    initial : [C, H, W], membranes at the start of an image, value; or None for currents
    neuron : NeuronSpec, set once thresholds are known
    drive : of neurons without memory: (drive in values, spikes) of the last batch, [T or 1, B, C, H, W]
    frozen : codes kept while the module runs in another precision, or None
    """
    def __init__(self, shape, units, quantizer, per_channel, fires, threshold, lateral=None):
        super().__init__()
        self.shape, self.units, self.quantizer, self.per_channel, self.fires = shape, units, quantizer, per_channel, fires
        self.threshold, self.lateral = threshold, lateral
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(0)) if c.identity else _weight_of(c) for c in shape.connections)
        self.offset = nn.Parameter(torch.zeros(shape.out_channels))
        step = torch.ones(shape.out_channels if per_channel else 1, 1, 1, 1)
        if not shape.weighted:
            self.step = None
        elif quantizer.learned:
            self.step = nn.Parameter(step)
        else:
            self.register_buffer("step", step if quantizer.keeps_scale else None)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("initial", _initial_of(shape))
        self.shortcut_limit = (1 << (quantizer.shortcut_bits - 1)) - 1
        self.neuron = STATELESS if shape.stateless else None
        self.frozen = self.leak = self.drive = None

    def codecs(self):
        """The weight codec of each connection."""
        found = [self.quantizer.codec if self.shape.weighted else parse_codec("binary")]
        for connection in self.shape.connections[1:]:
            found.append(parse_codec(f"int{IDENTITY_BITS if connection.identity else self.quantizer.shortcut_bits}"))
        return found

    def codes(self, amplitudes):
        """What the layer computes with, as integer-valued tensors.

        Parameters
        ----------
        amplitudes : list, per connection: value of a spike (or of a code of the current) of the source; a float, or a tensor [C
            or 1] where it is trained

        Returns
        -------
        (weights: list of [C_out, C_in, kh, kw], or [C_out] for an identity; biases [C]; thresholds [T or 1, C or 1];
        stored codes at the start of an image [C or 1, H or 1, W or 1]; value of a code [C or 1])
        """
        if self.frozen is not None:
            weights, *others = self.frozen
            return [w.to(self.offset.dtype) for w in weights], *(of.to(self.offset.dtype) for of in others)
        main = self.weights[0]
        units = [unit * amplitude for unit, amplitude in zip(self.units, amplitudes)]
        if not self.shape.weighted:
            value = units[0] * torch.ones_like(self.offset[:1])
            weights = [torch.ones_like(self.offset)]
        else:
            if self.step is None:
                scale = self.quantizer.scale(main.detach(), self.per_channel)
            else:
                scale = self.quantizer.learned_scale(self.step, main) if self.quantizer.learned else self.step
            value = scale.flatten() * units[0]
            weights = [self.quantizer.codes(main / scale)]
        for connection, weight, unit in zip(self.shape.connections[1:], self.weights[1:], units[1:]):
            if connection.identity:
                weights.append(round_ste((unit * self.gain / value).expand(self.shape.out_channels).clamp(1, LARGEST_IDENTITY)))
            else:
                limit = self.shortcut_limit
                weights.append(round_ste((weight * unit / value[:, None, None, None]).clamp(-limit, limit)))
        level, _ = self.threshold()
        theta = level.reshape(len(level), -1) / value
        if self.threshold.strict:                                    # h > theta
            theta = straight_through(theta, theta.floor() + 1)
        return weights, round_ste(self.offset / value), self.quantizer.thresholds(theta), self._starts(value), value

    def _starts(self, value):
        """Stored codes at the start of an image."""
        if self.initial is None or self.neuron is None:
            return value.new_zeros(1, 1, 1)
        store = self.neuron.store
        stored = value.detach()[:, None, None] * 2.0**store.shift
        return (self.initial / stored).round().clamp(store.lo, store.hi)

    def amplitude(self, value):
        """What one spike of the layer is worth, or one stored code of its currents; ``value`` is that of a code of acc."""
        return value * 2.0**self.neuron.store.shift if self.shape.emits == "currents" else self.threshold()[1]

    def current(self, maps, weights, bias):
        """Integer inputs, dict (source, what is read) -> [T or 1, B, C, H, W] -> acc [T or 1, B, C_out, Ho, Wo]."""
        currents = []
        for connection, weight in zip(self.shape.connections, weights):
            def one(x, connection=connection, weight=weight, bias=None if currents else bias):
                x = _counted(x, connection)
                return x * weight[:, None, None] if connection.identity else _convolve(x, weight, bias, connection)
            currents.append(_folded(maps[connection.source, connection.reads], one))
        return _sum(currents)

    def rivals(self, value):
        """Lateral of the contract, or None; ``value`` is that of a code of acc."""
        return None if self.lateral is None else self.lateral.in_codes(float(value[0]))

    def draws(self, steps, like):
        """LFSR draws [T, 1, C, H, W] in the contract's order (neuron index is channels-last), or zeros."""
        store, (height, width) = self.neuron.store, self.shape.out_map
        if store.rounding != "stochastic":
            return like.new_zeros(steps, 1, 1, 1)
        draws = torch.tensor(lfsr_draws(store.seed, store.shift, steps * self.shape.neurons), dtype=like.dtype)
        return draws.reshape(steps, height, width, self.shape.out_channels).permute(0, 3, 1, 2).to(like.device)

    def forward(self, maps, amplitudes, steps, surrogate):
        """Inputs and amplitudes by (source, what is read) -> (spikes or None, stored codes [T, B, ...], value of a code)."""
        weights, bias, theta, initial, value = self.codes([amplitudes[c.source, c.reads] for c in self.shape.connections])
        acc = self.current(maps, weights, bias)
        if self.shape.gate is not None:
            acc = _gated(acc, maps[self.shape.gate, "spikes"], self.shape)
        level, _ = self.threshold()
        slope = self.quantizer.options.membrane.slope if self.fires else None
        spikes, codes = code_steps(acc, theta, level.reshape(len(level), -1), steps, self.neuron, self.draws(steps, acc),
                                   self.fires, surrogate, self.threshold.paths, initial, slope, self.rivals(value))
        if self.shape.stateless:
            self.drive = (acc.detach() * value.detach()[:, None, None], spikes.detach())
        return spikes, codes, value


class SumLayer(nn.Module):
    """Sums, in codes: of spikes, as the ADD of SEW blocks, or of stored codes over a window. It forgets at every step, so it needs
    no membrane memory.

    Parameters
    ----------
    shape : LayerShape that emits sums
    reach : (lo, hi) of a sum, lo <= 0 <= hi
    """
    fires, step, leak, frozen = False, None, None, None

    def __init__(self, shape, reach):
        super().__init__()
        self.shape, self.threshold, self.weights = shape, FixedThreshold(), ()
        self.neuron = NeuronSpec(Leak("multiply", multiplier=0, fraction=1), Store(*reach))

    def codecs(self):
        """A weight of +1 in one bit for each identity."""
        return [parse_codec("binary")] * len(self.shape.connections)

    def codes(self, amplitudes):
        """As :meth:`CodeLayer.codes`; weights are ones, a code is worth what one of the source is, or a window's share."""
        one = self.threshold.value
        weights = [one.expand(c.out_channels) for c in self.shape.connections]
        value = one * amplitudes[0] / self.shape.connections[0].pooled
        return weights, one.new_zeros(self.shape.out_channels), one[None], one.new_zeros(1, 1, 1), value

    def amplitude(self, value):
        """As :meth:`CodeLayer.amplitude`."""
        return value

    def rivals(self, value):
        """As :meth:`CodeLayer.rivals`; there are none."""
        return None

    def forward(self, maps, amplitudes, steps, surrogate):
        """As :meth:`CodeLayer.forward`; no spikes."""
        weights, *_, value = self.codes([amplitudes[c.source, c.reads] for c in self.shape.connections])
        return None, _sum([_folded(maps[c.source, c.reads], lambda x, c=c: _counted(x, c)) for c in self.shape.connections]), value


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
    head = None

    def __init__(self, layers, neuron, input_spec, steps, quantizer):
        super().__init__()
        if neuron.activation != "spike":
            raise ValueError(f"neurons must spike to be quantized, and {neuron.activation} neurons do not: use quantizer 'float'")
        quantizer.check(layers, neuron)
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.quantizer, self.surrogate = quantizer, Surrogate()
        self.layers, self.largest = nn.ModuleList(), {INPUT: input_spec.max_code}
        weighted, last = [shape.name for shape in layers if shape.weighted], layers[-1]
        # What is taken off all membranes of a layer is one code.
        one_unit = {shape.name for k, shape in enumerate(layers) if self.lateral_of(k) is not None}
        if not self.fires(len(layers) - 1):
            # A membrane readout compares codes of different channels, so they must share one unit, and so must its currents.
            one_unit |= {last.name} | {c.source for c in last.connections[:1] if c.identity}
        sums = {}
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

    def _window(self, connection, stored):
        """(lo, hi) of what a connection of a sum adds up; ``stored`` is that of a stored code of its source."""
        lo, hi = stored if connection.reads == "membranes" else (0, self.largest[connection.source])
        return lo * connection.pooled, hi * connection.pooled

    @classmethod
    def from_float(cls, model, quantizer):
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
                    layer.gain.fill_(layer.shape.synapse.gain)
                for weight, connection in zip(layer.weights, source.connections):
                    if not connection.connection.identity:
                        gain, offset = connection.affine()
                        weight.copy_(connection.weight * gain[:, None, None, None] * layer.gain)
                        layer.offset += offset * layer.gain
                layer.threshold.load_state_dict(source.threshold.state_dict())
                if layer.initial is not None:
                    layer.initial.copy_(source.initial)
                if layer.step is not None:
                    layer.step.copy_(layer.quantizer.scale(layer.weights[0], layer.per_channel))
        net.choose_stores()
        return net

    def codes(self):
        """:meth:`CodeLayer.codes` of every layer, in order (an iterator: a layer may be changed before the next is asked for)."""
        amplitudes = {(INPUT, "spikes"): 1.0}
        for layer in self.layers:
            yield (coded := layer.codes([amplitudes[c.source, c.reads] for c in layer.shape.connections]))
            amplitudes |= self._amplitudes(layer, coded[-1])

    @staticmethod
    def _amplitudes(layer, value):
        """What a spike of a layer is worth, or a code of its currents; where membranes are read, a code counts as a number, and a
        sum of them as their mean."""
        worth = layer.amplitude(value)
        return {(layer.shape.name, "spikes"): worth,
                (layer.shape.name, "membranes"): worth if layer.shape.emits == "sums" else 1.0}

    @torch.no_grad()
    def choose_stores(self):
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
                reach, hi = kept * float(sums.max().clamp(min=1)), (1 << membrane.output_bits - 1) - 1
                lo = -hi - 1
                shift = max(0, math.ceil(math.log2(reach / hi)))
            rounding = membrane.rounding if shift else "floor"
            # Seeds of many ones: from a sparse one the LFSR takes a hundred steps to look random.
            seed = 0x9E3779B9 * (k + 1) % (1 << 32) if rounding == "stochastic" else 0
            store = Store(lo, hi, shift, rounding, seed)
            layer.neuron = NeuronSpec(leak, store, reset)
            if layer.shape.emits == "currents":
                self.largest[layer.shape.name] = store.hi

    @contextmanager
    def exact(self, dtype):
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

    def trace(self, x):
        """Every layer's (spikes or None, stored codes), each [T, B, C, H, W], and the value of a code of the last one."""
        maps, amplitudes, out = {(INPUT, "spikes"): x}, {(INPUT, "spikes"): 1.0}, []
        for layer in self.layers:
            spikes, codes, value = layer(maps, amplitudes, self.steps, self.surrogate)
            maps[layer.shape.name, "spikes"] = spikes if layer.shape.emits == "spikes" else codes
            maps[layer.shape.name, "membranes"] = codes
            amplitudes |= self._amplitudes(layer, value)
            out.append((spikes, codes))
        return out, value

    def forward(self, x):
        """As :meth:`FloatNetwork.forward`; the drive of a step is what the membrane gained, in values, but for rounding."""
        trace, value = self.trace(x)
        spikes, codes = trace[-1]
        if self.neuron.readout == "membrane":
            neuron = self.layers[-1].neuron
            v = codes.flatten(2) * 2.0**neuron.store.shift * value
            logits, outputs = v[-1], torch.cat([v[:1], v[1:] - neuron.leak.factor * v[:-1]])
        else:
            outputs = spikes.flatten(2)
            logits = outputs.sum(0)
        return logits, [s for s, _ in trace if s is not None], outputs

    def decide(self, x):
        """Predicted classes [B] by the integers of the readout; a tie goes to the lowest index."""
        spikes, codes = self.trace(x)[0][-1]
        score = codes[-1] if self.neuron.readout == "membrane" else spikes.sum(0)
        return score.flatten(1).cpu().numpy().argmax(1)

    def outgoing(self, name):
        """What leaves a layer: list of weights [C_next, C, kh, kw], values; ones [1, C, 1, 1] for an identity."""
        def weights(layer, k, connection):
            if connection.identity:
                return torch.ones(1, connection.in_channels, 1, 1)
            return layer.weights[k].detach().transpose(0, 1) if connection.depthwise else layer.weights[k].detach()
        return [weights(layer, k, connection) for layer in self.layers for k, connection in enumerate(layer.shape.connections)
                if connection.source == name]

    def pruned(self, kept):
        """A smaller CodeNetwork.

        Parameters
        ----------
        kept : dict hidden layer -> indices of the channels that stay
        """
        return self.with_layers(pruned_shapes(self.shapes, {name: len(indices) for name, indices in kept.items()}), kept)

    def under(self, quantizer):
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

    def with_layers(self, shapes, kept=None, quantizer=None):
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
                    new.initial.copy_(old.initial[out])
                if old.step is not None and quantizer is None:
                    new.step.copy_(old.step[out] if old.per_channel else old.step)
                new.neuron = old.neuron
        return net
