"""The scalar reference: a whole network in plain Python integers and loops, no vectorisation.

Slow and obvious on purpose. :mod:`spikeproof.integer` is tested against it.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from .fixed_point import lfsr_draws

if TYPE_CHECKING:
    from typing import TypeAlias

    from .annotations import Array
    from .network import NetworkSpec
    from .projections import Projection

    #: A map as nested lists [H][W][C].
    Map: TypeAlias = list[list[list[int]]]

__all__ = ["run_image"]


def _current(projection: Projection, source: Map, shape: tuple[int, int, int], y: int, x: int, channel: int) -> int:
    """Sum of the codes that the source map (nested lists [H][W][C]) drives into one neuron."""
    height, width, _ = shape
    pool, total = projection.pool, 0
    kernel_h, kernel_w, per_group, out_channels = projection.weights.shape
    group = channel // (out_channels // projection.groups)
    for ky in range(kernel_h):
        for kx in range(kernel_w):
            py = y * projection.stride - projection.padding + ky
            px = x * projection.stride - projection.padding + kx
            if not (0 <= py < height // pool and 0 <= px < width // pool):
                continue
            for c in range(per_group):
                window = [source[py * pool + dy][px * pool + dx][group * per_group + c]
                          for dy in range(pool) for dx in range(pool)]
                count = max(window) if projection.pool_kind == "max" else sum(window)
                total += count * int(projection.weights[ky, kx, c, channel])
    return total


def _open(gate: Map, shape: tuple[int, int, int], y: int, x: int, channel: int) -> int:
    """Whether the gate map (nested lists) lets the neuron at y, x, channel of a map of ``shape`` integrate."""
    row = gate[y // (shape[0] // len(gate))]
    pixel = row[x // (shape[1] // len(row))]
    return pixel[channel if len(pixel) > 1 else 0]


def _entry(array: Array, *index: int) -> int:
    """The entry of an array whose axes of size 1 serve every index."""
    return int(array[tuple(i if size > 1 else 0 for i, size in zip(index, array.shape))])


def run_image(net: NetworkSpec, frames: Array) -> tuple[dict[str, list[list[int]]], dict[str, list[list[int]]], int]:
    """One image through a network.

    Parameters
    ----------
    frames : int array, input codes [H, W, C] for a constant input, else [T, H, W, C]

    Returns
    -------
    (spikes, membranes, winner) : dicts layer name -> list over steps of flat lists of ints
        (neuron index order), and the class that the readout gives
    """
    given = frames.tolist()
    spikes: dict[str, list[list[int]]] = {layer.name: [] for layer in net.layers}
    membranes: dict[str, list[list[int]]] = {layer.name: [] for layer in net.layers}
    codes = {layer.name: [0] * layer.neurons for layer in net.layers}
    fired = dict.fromkeys(codes, 0)                                  # spikes of the layer in the step before
    draws = {layer.name: lfsr_draws(layer.neuron.store.seed, layer.neuron.store.shift, net.steps * layer.neurons)
             for layer in net.layers if layer.neuron.store.rounding == "stochastic"}
    for t in range(net.steps):
        maps: dict[str, Map] = {"input": given if net.input.constant else given[t]}
        codes_of: dict[str, Map] = {}
        for layer in net.layers:
            height, width, channels = layer.shape
            out = [[[0] * channels for _ in range(width)] for _ in range(height)]
            now, lateral = 0, layer.lateral
            for n in range(layer.neurons):
                y, x, c = n // (width * channels), n // channels % width, n % channels
                acc = 0
                if layer.gate is None or _open(maps[layer.gate], layer.shape, y, x, c):
                    acc = 0 if layer.bias is None else int(layer.bias[c])
                    for p in layer.projections:
                        acc += _current(p, (codes_of if p.reads == "membranes" else maps)[p.source],
                                        net.source_shape(p), y, x, c)
                if lateral is not None:
                    acc -= lateral.inhibition * fired[layer.name]
                if t == 0 and layer.v_init is not None:
                    codes[layer.name][n] = _entry(layer.v_init, y, x, c)
                theta = None if layer.theta is None else _entry(layer.theta, t, y, x, c)
                draw = draws[layer.name][t * layer.neurons + n] if layer.name in draws else 0
                free = lateral is None or not lateral.one_spike or now == 0
                out[y][x][c], codes[layer.name][n] = layer.neuron.step(codes[layer.name][n], acc, theta, draw, free)
                now += out[y][x][c]
            fired[layer.name] = now
            maps[layer.name] = out
            held = iter(codes[layer.name])
            codes_of[layer.name] = [[[next(held) for _ in range(channels)] for _ in range(width)] for _ in range(height)]
            spikes[layer.name].append([s for row in out for pixel in row for s in pixel])
            membranes[layer.name].append(list(codes[layer.name]))
    last = net.layers[-1].name
    score = membranes[last][-1] if net.readout == "membrane" else [sum(s) for s in zip(*spikes[last])]
    return spikes, membranes, score.index(max(score))
