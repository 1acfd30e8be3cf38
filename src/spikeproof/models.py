"""Torch networks: in full precision (FloatNetwork) and in integer codes (CodeNetwork).

Both keep tensors as [T, B, C, H, W] and follow the five steps of :mod:`spikeproof.spec`. A constant input
is [1, B, C, H, W]: its currents are computed once and used at every step.

A CodeNetwork computes the *same integers in training and in evaluation* as the exported network: weights,
biases, thresholds and membranes are integer-valued floats, exact below 2^24 in float32. Only gradients
see real numbers (straight-through for every rounding, a surrogate for the spike).
"""
import math
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from .fixed_point import lfsr_draws
from .neuron_steps import code_steps, float_steps
from .quantizers.base import round_ste
from .spec import NeuronSpec, Store
from .surrogates import Surrogate

__all__ = ["CodeNetwork", "FloatNetwork"]


def _convolve(x, weight, bias, shape):
    """x [M, C, H, W] pooled -> [M, C_out, Ho, Wo]; a dense layer is one matrix product."""
    if shape.kernel == tuple(x.shape[-2:]) and shape.padding == 0:
        return F.linear(x.flatten(1), weight.flatten(1), bias)[..., None, None]
    # Channels last: half the time of a convolution with its backward pass, and of a normalisation.
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, shape.stride, shape.padding)


def _folded(x, operation):
    """Apply an operation on [M, ...] to x [T, B, ...] with time folded into the batch."""
    out = operation(x.flatten(0, 1))
    return out.unflatten(0, x.shape[:2])


class FloatLayer(nn.Module):
    """Pool, convolve, normalise. Values.

    Parameters
    ----------
    shape : LayerShape
    norm : bool, batch normalisation (else a bias)
    """
    def __init__(self, shape, norm):
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.empty(shape.out_channels, shape.in_channels, *shape.kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(shape.out_channels) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(shape.out_channels))

    def forward(self, x):
        def one(x):
            if self.shape.pool > 1:
                x = (F.avg_pool2d if self.shape.pool_kind == "sum" else F.max_pool2d)(x, self.shape.pool)
            x = _convolve(x, self.weight, self.bias, self.shape)
            return x if self.norm is None else self.norm(x)
        return _folded(x, one)

    def affine(self):
        """(gain [C], offset [C]): the layer is gain * convolution + offset, with the running statistics."""
        if self.norm is None:
            return torch.ones_like(self.bias), self.bias
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return gain, self.norm.bias - gain * self.norm.running_mean


class FloatNetwork(nn.Module):
    """The network in full precision; thresholds are 1.

    Parameters
    ----------
    layers : tuple of LayerShape
    neuron : a neuron of the catalog (leak, beta, reset, readout)
    input_spec : InputSpec; codes are scaled to 0 .. 1
    steps : int
    """
    def __init__(self, layers, neuron, input_spec, steps):
        super().__init__()
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.surrogate = Surrogate()
        self.layers = nn.ModuleList(FloatLayer(shape, norm=k < len(layers) - 1) for k, shape in enumerate(layers))

    def fires(self, k):
        """Whether layer k has a threshold: all but the last under a membrane readout."""
        return k < len(self.shapes) - 1 or self.neuron.readout == "spike_count"

    def forward(self, x):
        """Input codes [T or 1, B, C, H, W] -> (logits [B, classes], spikes of each firing layer)."""
        x, spikes = x / self.input_spec.max_code, []
        for k, layer in enumerate(self.layers):
            x, v = float_steps(layer(x), self.steps, self.neuron, self.fires(k), self.surrogate)
            if x is not None:
                spikes.append(x)
        logits = v if self.neuron.readout == "membrane" else x.sum(0)
        return logits.flatten(1), spikes

    def decide(self, x):
        """Predicted classes [B]; a tie goes to the lowest index."""
        return self(x)[0].cpu().numpy().argmax(1)


class CodeLayer(nn.Module):
    """A quantized layer in codes.

    Parameters
    ----------
    shape : LayerShape
    unit : float, value of one code of the (summed) integer input; a synapse adds weight * unit for each
    quantizer : Quantizer
    per_channel : bool, one scale per output channel
    fires : bool, whether the layer has thresholds

    Members
    -------
    weight : [C_out, C_in, kh, kw], value; offset : [C_out], value
    neuron : NeuronSpec, set once thresholds are known
    frozen : codes kept while the module runs in another precision, or None
    """
    def __init__(self, shape, unit, quantizer, per_channel, fires):
        super().__init__()
        self.shape, self.unit, self.quantizer, self.per_channel, self.fires = shape, unit, quantizer, per_channel, fires
        self.weight = nn.Parameter(torch.zeros(shape.out_channels, shape.in_channels, *shape.kernel))
        self.offset = nn.Parameter(torch.zeros(shape.out_channels))
        self.neuron = self.frozen = None

    def codes(self):
        """(weight codes [C_out, C_in, kh, kw], bias codes [C], threshold codes [C or 1], value of a code [C or 1])."""
        if self.frozen is not None:
            return [codes.to(self.weight.dtype) for codes in self.frozen]
        with torch.no_grad():
            scale = self.quantizer.scale(self.weight, self.per_channel)
            value = scale.flatten() * self.unit
            theta = (1 / value).round().clamp(min=1)
        return self.quantizer.codes(self.weight / scale), round_ste(self.offset / value), theta, value

    def current(self, x, weight, bias):
        """Integer input [T or 1, B, C, H, W] -> acc [T or 1, B, C_out, Ho, Wo]."""
        def one(x):
            if self.shape.pool > 1:
                x = F.avg_pool2d(x, self.shape.pool, divisor_override=1) if self.shape.pool_kind == "sum" \
                    else F.max_pool2d(x, self.shape.pool)
            return _convolve(x, weight, bias, self.shape)
        return _folded(x, one)

    def draws(self, steps, like):
        """LFSR draws [T, C, H, W] in the contract's order (neuron index is channels-last), or zeros."""
        store, (height, width) = self.neuron.store, self.shape.out_map
        channels = self.shape.out_channels
        if store.rounding != "stochastic":
            return like.new_zeros(steps, 1, 1, 1)
        draws = torch.tensor(lfsr_draws(store.seed, store.shift, steps * self.shape.neurons), dtype=like.dtype)
        return draws.reshape(steps, height, width, channels).permute(0, 3, 1, 2).to(like.device)

    def forward(self, x, steps, surrogate):
        """Input codes or spikes [T or 1, B, C, H, W] -> (spikes or None, stored codes [T, B, ...], scale)."""
        weight, bias, theta, scale = self.codes()
        acc = self.current(x, weight, bias)
        theta = theta[:, None, None]
        spikes, codes = code_steps(acc, theta, steps, self.neuron, self.draws(steps, acc), self.fires, surrogate)
        return spikes, codes, scale


class CodeNetwork(nn.Module):
    """The quantized network.

    Parameters
    ----------
    layers : tuple of LayerShape
    neuron : a neuron of the catalog
    input_spec : InputSpec
    steps : int
    quantizer : Quantizer
    """
    def __init__(self, layers, neuron, input_spec, steps, quantizer):
        super().__init__()
        self.shapes, self.neuron, self.input_spec, self.steps = layers, neuron, input_spec, steps
        self.quantizer, self.surrogate = quantizer, Surrogate()
        self.layers = nn.ModuleList()
        for k, shape in enumerate(layers):
            # A membrane readout compares codes of different channels, so they must share one unit.
            per_channel = quantizer.options.scale == "channel" and self.fires(k)
            unit = (1 / input_spec.max_code if k == 0 else 1.0) / (shape.pool**2 if shape.pool_kind == "sum" else 1)
            self.layers.append(CodeLayer(shape, unit, quantizer, per_channel, self.fires(k)))

    fires = FloatNetwork.fires

    @classmethod
    def from_float(cls, model, quantizer):
        """Fold batch norm into weights and offsets, then choose how membranes are stored."""
        net = cls(model.shapes, model.neuron, model.input_spec, model.steps, quantizer)
        with torch.no_grad():
            for layer, source in zip(net.layers, model.layers):
                gain, offset = source.affine()
                layer.weight.copy_(source.weight * gain[:, None, None, None])
                layer.offset.copy_(offset)
        net.choose_stores()
        return net

    def choose_stores(self):
        """Fix each layer's NeuronSpec: the finest unit whose code range holds what the membrane must reach.

        That is the largest threshold where the layer fires (an unfired membrane is below it), and the sum that
        the codes allow over all steps where it does not. A ternary membrane counts in units of 2^m nearest
        to half the threshold: on MNIST that decides 0.4 points more of the validation images than the threshold itself.
        """
        membrane = self.quantizer.options.membrane
        for k, layer in enumerate(self.layers):
            with torch.no_grad():
                weight, bias, theta, _ = layer.codes()
            if layer.fires:
                reach, bits, ternary = float(theta.max()), membrane.bits, membrane.ternary
            else:
                largest = self.input_spec.max_code if k == 0 else 1
                window = layer.shape.pool**2 if layer.shape.pool_kind == "sum" else 1
                sums = weight.clamp(min=0).sum((1, 2, 3)) * largest * window + bias
                reach, bits, ternary = self.steps * float(sums.max().clamp(min=1)), membrane.output_bits, False
            if ternary:
                lo, hi, shift = -1, 1, max(0, round(math.log2(float(theta.median()) / 2)))
            else:
                lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
                shift = max(0, math.ceil(math.log2(reach / hi)))
            rounding = membrane.rounding if shift else "floor"
            # Seeds of many ones: from a sparse one the LFSR takes a hundred steps to look random.
            seed = 0x9E3779B9 * (k + 1) % (1 << 32) if rounding == "stochastic" else 0
            store = Store(lo, hi, shift, rounding, seed)
            layer.neuron = NeuronSpec(self.neuron.leak, store, self.neuron.reset)

    @contextmanager
    def exact(self, dtype):
        """Run in ``dtype`` with the codes that the module has now; back to float32 afterwards."""
        with torch.no_grad():
            for layer in self.layers:
                layer.frozen = [codes.detach().clone() for codes in layer.codes()]
        try:
            yield self.to(dtype)
        finally:
            self.float()
            for layer in self.layers:
                layer.frozen = None

    def trace(self, x):
        """Every layer's (spikes or None, stored codes), each [T, B, C, H, W], and the last layer's scale."""
        out = []
        for layer in self.layers:
            x, codes, scale = layer(x, self.steps, self.surrogate)
            out.append((x, codes))
        return out, scale

    def forward(self, x):
        """Input codes [T or 1, B, C, H, W] -> (logits [B, classes], spikes of each firing layer)."""
        trace, scale = self.trace(x)
        spikes, codes = trace[-1]
        if self.neuron.readout == "membrane":
            logits = codes[-1] * 2.0**self.layers[-1].neuron.store.shift * scale
        else:
            logits = spikes.sum(0)
        return logits.flatten(1), [s for s, _ in trace if s is not None]

    def decide(self, x):
        """Predicted classes [B] by the integers of the readout; a tie goes to the lowest index."""
        spikes, codes = self.trace(x)[0][-1]
        score = codes[-1] if self.neuron.readout == "membrane" else spikes.sum(0)
        return score.flatten(1).cpu().numpy().argmax(1)

    def pruned(self, kept):
        """A smaller CodeNetwork that keeps some channels of each hidden layer.

        Parameters
        ----------
        kept : list of index tensors, one per hidden layer
        """
        shapes = []
        for k, shape in enumerate(self.shapes):
            shapes.append(replace(shape, out_channels=len(kept[k]) if k < len(kept) else shape.out_channels,
                                  in_channels=len(kept[k - 1]) if k else shape.in_channels))
        net = CodeNetwork(tuple(shapes), self.neuron, self.input_spec, self.steps, self.quantizer)
        with torch.no_grad():
            for k, (new, old) in enumerate(zip(net.layers, self.layers)):
                weight, offset = old.weight, old.offset
                if k:
                    weight = weight[:, kept[k - 1]]
                if k < len(kept):
                    weight, offset = weight[kept[k]], offset[kept[k]]
                new.weight.copy_(weight)
                new.offset.copy_(offset)
                new.neuron = old.neuron
        return net
