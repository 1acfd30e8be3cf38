"""The integer model: NetworkSpec on batches of images.

Synaptic sums are matrix products in float32 where no sum can reach 2^24, else in float64, both exact on integers of that size (the
bound is proved from the codes); of bytes by bytes they are sums of 32-bit integers, on processors with instructions for it.
Everything else is int32 where the codes prove that it fits, else int64. Neurons of the former, but those that inhibit each other,
take one pass over memory (:mod:`spikeproof.kernels`); the rest, and all where there is no compiler, have NumPy's operations.
"""
from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import kernels
from .fixed_point import ROUNDINGS, lfsr_draws
from .projections import INPUT
from .spec import Leak

if TYPE_CHECKING:
    from typing import Any

    from .annotations import Array
    from .network import LayerSpec, NetworkSpec
    from .projections import Projection

__all__ = ["Trace", "count_synops", "run"]


@dataclass(frozen=True)
class Trace:
    """What a batch of B images did.

    Members
    -------
    spikes : dict layer name -> uint8 [B, T, N], 0 or 1
    membranes : dict layer name -> int32 [B, T, N], stored code after each step
    winner : int64 [B], class of the readout (ties to the lowest index)
    score : int64 [B, classes], what the readout compares
    """
    spikes: dict[str, Array]
    membranes: dict[str, Array]
    winner: Array
    score: Array


def _pooled(x: Array, projection: Projection) -> Array:
    """x [M, H, W, C] -> [M, H / pool, W / pool, C]."""
    k = projection.pool
    if k == 1:
        return x
    m, h, w, c = x.shape
    x = x.reshape(m, h // k, k, w // k, k, c)
    return x.max((2, 4)) if projection.pool_kind == "max" else x.sum((2, 4), dtype=np.int64)


def _windows(x: Array, projection: Projection) -> Array:
    """Pooled x [M, H, W, C] -> view [M, Ho, Wo, C, kernel_h, kernel_w] of the padded map."""
    pad, stride = projection.padding, projection.stride
    if pad:
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, projection.kernel, (1, 2))
    return windows[:, ::stride, ::stride]


def current(projection: Projection, x: Array, input_range: tuple[int, int],
            to: type[np.signedinteger[Any]] = np.int64) -> Array:
    """Synaptic sums of a projection, bias not included.

    Parameters
    ----------
    x : integer array [M, H, W, C], input codes, spikes or membrane codes
    input_range : (lo, hi) of the elements that x may have
    to : type of the result, one that the sums fit in

    Returns
    -------
    [M, Ho, Wo, C_out]
    """
    weights = projection.weights
    bytes_by = _bytes_kernel(projection, input_range) if to is np.int32 else None
    dtype: type[np.generic] = np.uint8
    if bytes_by is None:
        lo, hi = projection.acc_range(input_range)
        dtype = np.float32 if max(-int(lo.min()), int(hi.max())) < 1 << 24 else np.float64
    x = _windows(_pooled(x, projection).astype(dtype, copy=False), projection)
    m, height, width, channels = x.shape[:4]
    parts, per_in, per_out = projection.groups, channels // projection.groups, projection.out_channels // projection.groups
    out = np.empty((m, height, width, projection.out_channels), to)
    for g in range(parts):
        own = weights[..., g * per_out:(g + 1) * per_out].transpose(2, 0, 1, 3).reshape(-1, per_out)
        columns = x[:, :, :, g * per_in:(g + 1) * per_in].reshape(m * height * width, -1)
        product = columns @ own.astype(dtype) if bytes_by is None else _byte_sums(bytes_by, columns, own)
        if parts == 1 and product.dtype == to:
            return product.reshape(out.shape)
        out[..., g * per_out:(g + 1) * per_out] = product.reshape(m, height, width, per_out)
    return out


def _bytes_kernel(projection: Projection, input_range: tuple[int, int]) -> ctypes.CDLL | None:
    """The kernels, where they know this processor's sums of bytes, and inputs and weights are bytes."""
    weights = projection.weights
    if input_range[0] < 0 or input_range[1] * projection.pooled > 255 or weights.min() < -128 or weights.max() > 127:
        return None
    found = kernels.library()
    return found if found is not None and found.integer_matmul_known() else None


def _byte_sums(found: ctypes.CDLL, x: Array, weights: Array) -> Array:
    """x uint8 [M, K] times weights [K, N], each of a signed byte -> int32 [M, N]."""
    (count, inputs), outputs = x.shape, weights.shape[1]
    rows, wide = -(-inputs // 4) * 4, -(-outputs // 16) * 16
    packed = np.zeros((rows, wide), np.int8)
    packed[:inputs, :outputs] = weights
    packed = np.ascontiguousarray(packed.reshape(rows // 4, 4, wide).transpose(0, 2, 1))
    if rows != inputs:
        x = np.pad(x, ((0, 0), (0, rows - inputs)))
    out = np.empty((count, outputs), np.int32)
    kernels.call(found, "integer_matmul", np.ascontiguousarray(x), packed, out, count, rows, outputs, wide, _threads())
    return out


def _threads() -> int:
    """Threads of a kernel: as many as the stage was given, else as there are cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _narrow(net: NetworkSpec, layer: LayerSpec) -> type[np.signedinteger[Any]]:
    """The narrowest type that everything a layer's neurons compute fits in, by the ranges that the codes prove."""
    store = layer.neuron.store
    widest = max(-store.lo, store.hi) << store.shift
    lo, hi = net.h_range(layer)
    most = max(widest * max(layer.neuron.leak.multiplier, 1), -lo, hi, -layer.neuron.v_reset, layer.neuron.v_reset)
    theta = 0 if layer.theta is None else int(layer.theta.max())
    # A soft reset may subtract a threshold that h never reached, where it is thrown away; rounding adds at most a unit.
    return np.int32 if most + theta + (1 << store.shift) < 1 << 31 else np.int64


#: The largest of 32 bits; what a layer computes in them stays below it (:func:`_narrow`).
MOST = (1 << 31) - 1


class _Contract(ctypes.Structure):
    """A NeuronSpec as the kernels' source declares it."""
    _fields_ = [(name, ctypes.c_int) for name in ("leak_kind", "leak_shift", "multiplier", "fraction", "soft", "v_reset", "shift",
                                                  "rounding", "lo", "hi")]


def _by_kernel(found: ctypes.CDLL, layer: LayerSpec, acc: Array, steps: int, spikes: Array, membranes: Array) -> None:
    """What :func:`_neurons` gives, in int32."""
    neuron, leak, store = layer.neuron, layer.neuron.leak, layer.neuron.store
    given = _Contract(Leak.KINDS.index(leak.kind), leak.shift, leak.multiplier, leak.fraction, neuron.reset == "soft",
                      neuron.v_reset, store.shift, ROUNDINGS.index(store.rounding), store.lo, store.hi)

    def laid_out(values: Array, length: int) -> Array:
        """Of each neuron: [length, N]."""
        return np.ascontiguousarray(np.broadcast_to(values, (length, *layer.shape)), dtype=np.int32)
    # What never fires has a threshold that no membrane reaches.
    theta = laid_out(np.array(MOST), 1) if layer.theta is None else laid_out(layer.theta, len(layer.theta))
    start, draws = None if layer.v_init is None else laid_out(layer.v_init, 1), None
    if store.rounding == "stochastic":
        draws = np.array(lfsr_draws(store.seed, store.shift, steps * layer.neurons), np.int32)
    kernels.call(found, "integer_forward", np.ascontiguousarray(acc), acc.shape[1], theta, len(theta), start, draws,
                 spikes, membranes, len(acc), steps, layer.neurons, given, _threads())


def _neurons(layer: LayerSpec, acc: Array, steps: int, dtype: type[np.signedinteger[Any]]) -> tuple[Array, Array]:
    """acc [B, T or 1, N], bias included -> (spikes uint8, membranes int32), both [B, T, N]; computed in ``dtype``."""
    neuron, store, count = layer.neuron, layer.neuron.store, layer.neurons
    batch = acc.shape[0]
    spikes = np.empty((batch, steps, count), np.uint8)
    membranes = np.empty((batch, steps, count), np.int32)
    if dtype is np.int32 and layer.lateral is None and (found := kernels.library()) is not None:
        _by_kernel(found, layer, acc, steps, spikes, membranes)
        return spikes, membranes
    spikes[:] = 0
    draws: Array = np.zeros(steps, dtype)
    if store.rounding == "stochastic":
        draws = np.array(lfsr_draws(store.seed, store.shift, steps * count), dtype).reshape(steps, count)
    code: Array
    before: Array
    code, before, lateral = np.zeros((batch, count), dtype), np.zeros(batch, dtype), layer.lateral
    if layer.v_init is not None:
        code += np.broadcast_to(layer.v_init, layer.shape).reshape(-1).astype(dtype)
    for t in range(steps):
        # Leak and integrate.
        h = neuron.leak(code << store.shift) + acc[:, t if acc.shape[1] > 1 else 0]
        if lateral is not None:
            h = h - (dtype(lateral.inhibition) * before)[:, None]
        # Fire and reset.
        if (level := layer.theta_at(t)) is not None:
            theta = np.broadcast_to(level, layer.shape).reshape(-1).astype(dtype)
            s = h >= theta
            if lateral is not None:
                if lateral.one_spike:
                    s &= np.arange(count) == s.argmax(1)[:, None]
                before = s.sum(1, dtype=dtype)
            h = np.where(s, h - theta if neuron.reset == "soft" else dtype(neuron.v_reset), h)
            spikes[:, t] = s
        # Store.
        code = np.clip(store.round(h, draws[t]), store.lo, store.hi)
        membranes[:, t] = code
    return spikes, membranes


def _open(gate: Array, shape: tuple[int, int, int]) -> Array:
    """Gate map [B, T, gate height, gate width, 1 or C] -> [B, T, H, W, 1 or C], 1 where neurons integrate."""
    return gate.repeat(shape[0] // gate.shape[2], 2).repeat(shape[1] // gate.shape[3], 3)


def _sums(projection: Projection, x: Array, input_range: tuple[int, int], kept: dict[Any, Array] | None,
          dtype: type[np.signedinteger[Any]]) -> Array:
    """Synaptic sums of a source map x [B, T, H, W, C]; ``kept`` holds those of the last weights that were asked for, or is None."""
    flat = x.reshape(-1, *x.shape[2:])
    if kept is None:
        return current(projection, flat, input_range, dtype)
    key = (projection.weights.shape, projection.weights.tobytes(), projection.stride, projection.padding, projection.groups,
           projection.pool, projection.pool_kind)
    if key not in kept:
        kept.clear()
        lo, hi = projection.acc_range(input_range)
        kept[key] = current(projection, flat, input_range, np.int32 if max(-lo.min(), hi.max()) < 1 << 31 else np.int64)
    return kept[key]


def run(net: NetworkSpec, frames: Array, sums: dict[Any, Array] | None = None) -> Trace:
    """A batch of images through a network.

    Parameters
    ----------
    frames : integer array of input codes, [B, H, W, C] for a constant input, else [B, T, H, W, C]
    sums : dict that keeps what the input drives, for other networks of the same first weights on the same frames; or None

    Raises
    ------
    ValueError
        If the shape is not the network's, there is no image, or a code is outside 0 .. 2^bits - 1.
    """
    frames = np.asarray(frames)
    expected = net.input.shape if net.input.constant else (net.steps, *net.input.shape)
    if frames.shape[1:] != expected:
        raise ValueError(f"frames must be [images, {', '.join(map(str, expected))}], not {list(frames.shape)}")
    if not len(frames):
        raise ValueError("frames must hold one image or more, not none")
    if frames.min() < 0 or frames.max() > net.input.max_code:
        raise ValueError(f"input codes must be from 0 to {net.input.max_code}, "
                         f"not {int(frames.min())} .. {int(frames.max())}")
    batch = len(frames)
    # Every map is kept with time folded behind the batch: [B, T or 1, H, W, C].
    maps = {"input": frames[:, None] if net.input.constant else frames}
    membranes: dict[str, Array]
    spikes, membranes = {}, {}
    for layer in net.layers:
        dtype, acc = _narrow(net, layer), None
        for p in layer.projections:
            x = maps[p.source]
            if p.reads == "membranes":
                x = membranes[p.source].reshape(x.shape)
            driven = _sums(p, x, net.input_range(p), sums if p.source == INPUT else None, dtype)
            driven = driven.reshape(batch, x.shape[1], *layer.shape)
            acc = driven if acc is None else acc + driven
        assert acc is not None
        if layer.bias is not None:
            # In place, but where the sums are kept for other networks.
            alone = sums is None and acc.dtype == dtype
            acc = np.add(acc, layer.bias.astype(dtype), out=acc if alone else None)
        if layer.gate is not None:
            acc = acc * _open(maps[layer.gate], layer.shape)
        s, v = _neurons(layer, acc.reshape(batch, -1, layer.neurons).astype(dtype, copy=False), net.steps, dtype)
        spikes[layer.name], membranes[layer.name] = s, v
        maps[layer.name] = s.reshape(batch, net.steps, *layer.shape)
    last = net.layers[-1].name
    score = membranes[last][:, -1].astype(np.int64) if net.readout == "membrane" else spikes[last].sum(1, dtype=np.int64)
    return Trace(spikes, membranes, score.argmax(1), score)


def count_synops(net: NetworkSpec, frames: Array, trace: Trace) -> Array:
    """Synaptic operations per image: weight accumulations triggered by events, int64 [B].

    An n-bit code costs one operation per set bit and synapse (bit planes); a constant input is presented, and counted,
    at every step. Zero weights count; padding, biases and neurons whose gate is closed do not.
    """
    batch = len(frames)
    totals = np.zeros(batch, np.int64)
    for layer in net.layers:
        gate = None
        if layer.gate is not None:
            shape = net.by_name[layer.gate].shape
            gate = _open(trace.spikes[layer.gate].reshape(batch, net.steps, *shape), layer.shape)
        for p in layer.projections:
            if p.source == INPUT:
                x = np.asarray(frames)[:, None] if net.input.constant else np.asarray(frames)
            else:
                x = (trace.membranes if p.reads == "membranes" else trace.spikes)[p.source]
                x = x.reshape(batch, net.steps, *net.source_shape(p))
            x = np.bitwise_count(x.astype(np.int64) & ((1 << net.input_bits(p)[0]) - 1))
            # Events that reach a position, by group: [B * T, Ho, Wo, groups]
            events = _windows(_pooled(x.reshape(-1, *x.shape[2:]), p), p).sum((4, 5), dtype=np.int64)
            events = events.reshape(*events.shape[:3], p.groups, -1).sum(4).reshape(batch, x.shape[1], *layer.shape[:2], p.groups)
            fan_out = p.out_channels // p.groups
            if gate is None:
                totals += (net.steps // x.shape[1]) * fan_out * events.reshape(batch, -1).sum(1)
            else:
                channels = np.broadcast_to(gate, (*gate.shape[:4], p.out_channels)).reshape(*gate.shape[:4], p.groups, fan_out)
                totals += (events * channels.sum(5, dtype=np.int64)).reshape(batch, -1).sum(1)
    return totals
