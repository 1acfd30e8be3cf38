"""Networks as NIR, with a sidecar for what NIR cannot say.

A network in full precision becomes the graph that it is, batch normalisation folded. An integer network becomes a graph in codes:
every weight, bias and threshold an integer; the sidecar has the rest of the contract (widths, codecs, rounding, saturation), so
that it comes back the same. What has no node in NIR is refused, in a sentence that names the layer.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .files import atomic_path
from .netfile import VERSION, describe, rebuild
from .nir_files import Dialect, ImportRefused, write_sidecar
from .projections import INPUT

if TYPE_CHECKING:
    from typing import Any

    import nir

    from .annotations import Array, StrPath
    from .models import FloatNetwork
    from .network import NetworkSpec

__all__ = ["ExportRefused", "export_float", "export_integer", "network_of"]

#: Time step of the graphs that are written here, and the rest of how they are meant.
DT = 1e-4


class ExportRefused(ValueError):
    """What NIR cannot say; one sentence that names the layer."""


def _dialect(reset: str, fires: str) -> Dialect:
    return Dialect(DT, "euler", "euler", fires, reset)


def _neurons(name: str, shape: tuple[int, ...], decay: float, threshold: Array | None, synapse: float | None = None) -> nir.NIRNode:
    """The node of a layer's neurons; ``threshold`` None: they do not spike. Inputs have a gain of 1."""
    import nir
    if not 0 < decay <= 1 or synapse is not None and not 0 < synapse < 1:
        raise ExportRefused(f"layer {name}: a membrane that forgets everything in a step has no time constant in NIR")

    def of(value: Array | float) -> Array:
        return np.broadcast_to(np.asarray(value, np.float64), shape).copy()
    firing = {} if threshold is None else {"v_threshold": of(threshold), "v_reset": of(0.0)}
    if decay == 1:
        if synapse is not None:
            raise ExportRefused(f"layer {name}: a synaptic current needs a leaky membrane in NIR")
        return (nir.I if threshold is None else nir.IF)(r=of(1.0), **firing)
    tau = DT / (1 - decay)
    if synapse is not None:
        if threshold is None:
            raise ExportRefused(f"layer {name}: a synaptic current that drives neurons without spikes is left out here")
        return nir.CubaLIF(tau_syn=of(DT / (1 - synapse)), tau_mem=of(tau), r=of(tau / DT), v_leak=of(0.0),
                           w_in=of(1 / (1 - synapse)), **firing)
    return (nir.LI if threshold is None else nir.LIF)(tau=of(tau), r=of(tau / DT), v_leak=of(0.0), **firing)


class _Graph:
    edges: list[tuple[str, str]]

    def __init__(self, shape: tuple[int, int, int], pool: str) -> None:
        import nir
        self.nir, self.pool = nir, getattr(nir, pool)
        self.shapes = {INPUT: shape}                                 # (height, width, channels)
        self.nodes, self.edges = {INPUT: nir.Input(input_type={"input": np.array(self.channels_first(shape))})}, []

    @staticmethod
    def channels_first(shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape[2], *shape[:2]

    def chain(self, first: str, nodes: list[tuple[str, nir.NIRNode]], last: str) -> None:
        """Nodes (name, node), one after the other, between two that are there (``last`` at least later)."""
        for name, node in nodes:
            self.nodes[name] = node
            self.edges.append((first, name))
            first = name
        self.edges.append((first, last))

    def connection(self, label: str, source: str, target: str, weight: Array, bias: Array, stride: int, padding: int, groups: int,
                   pool: int) -> None:
        """Pool, and weights [C_out, C_in / groups, kh, kw]; dense where the kernel is the whole map."""
        nir, made, shape = self.nir, [], self.shapes[source]
        if pool > 1:
            made.append((f"{label}_pool", self.pool(np.array([pool, pool]), np.array([pool, pool]), np.array([0, 0]))))
            shape = (shape[0] // pool, shape[1] // pool, shape[2])
        if weight.shape[2:] == tuple(shape[:2]) and padding == 0 and groups == 1:
            flat = self.channels_first(shape)
            made += [(f"{label}_flat", nir.Flatten({"input": np.array(flat)}, 0, -1)),
                     (label, nir.Affine(weight.reshape(len(weight), -1), bias))]
        else:
            made.append((label, nir.Conv2d(shape[:2], weight, (stride, stride), (padding, padding), (1, 1), groups, bias)))
        self.chain(source, made, target)

    def write(self, path: StrPath, last: str, dialect: Dialect, network: dict[str, Any] | None = None) -> None:
        """Write graph and sidecar."""
        self.nodes["output"] = self.nir.Output(output_type={"output": np.array(self.shapes[last][2:])})
        self.edges.append((last, "output"))
        with atomic_path(path) as temporary:
            self.nir.write(temporary, self.nir.NIRGraph(self.nodes, self.edges, type_check=False))
        write_sidecar(path, dialect, network)


def export_float(model: FloatNetwork, path: StrPath) -> None:
    """Write a FloatNetwork (in evaluation mode) as NIR, with its sidecar.

    Raises
    ------
    ExportRefused
        If a layer has no node in NIR: sums of spikes, thresholds per step, maximum pools, membranes that start elsewhere
        than at 0, activations without spikes.
    """
    import torch
    if model.neuron.activation != "spike":
        raise ExportRefused(f"{model.neuron.activation} neurons do not spike: NIR describes spiking networks here")
    # The graph takes inputs of 0 .. 1.
    graph, worth, currents = _Graph(model.input_spec.shape, "AvgPool2d"), {INPUT: 1.0}, {}
    with torch.no_grad():
        for k, layer in enumerate(model.layers):
            shape, name = layer.shape, layer.shape.name
            if shape.emits == "sums":
                raise ExportRefused(f"layer {name}: sums of spikes have no node in NIR")
            for wrong, what in ((shape.gate is not None, "a gate"), (shape.stateless, "a neuron without memory"),
                                (model.fires(k) and model.neuron_of(k).lateral is not None, "lateral inhibition"),
                                (shape.attention is not None, "attention")):
                if wrong:
                    raise ExportRefused(f"layer {name}: {what} has no node in NIR")
            target = name.removesuffix("_current") if shape.emits == "currents" else name
            graph.shapes[name] = (*shape.out_map, shape.out_channels)
            if shape.emits == "currents":
                assert shape.synapse is not None
                currents[target], gain = shape.synapse.beta, shape.synapse.gain
            else:
                theta, amplitude = layer.threshold()
                if len(theta) > 1:
                    raise ExportRefused(f"layer {name}: thresholds per time step have no node in NIR")
                assert layer.initial is not None
                if layer.initial.any():
                    raise ExportRefused(f"layer {name}: a membrane that starts elsewhere than at 0 has no node in NIR")
                flat, neuron = max(shape.out_map) == 1, model.neuron_of(k)
                beta, gain = (float(v) for v in layer.leak()) if layer.leak is not None else (neuron.beta, 1.0)
                if layer.threshold.strict:
                    theta = theta.nextafter(torch.zeros_like(theta))
                size = (shape.out_channels,) if flat else graph.channels_first(graph.shapes[name])
                graph.nodes[name] = _neurons(name, size, beta, theta.numpy() if model.fires(k) else None, currents.get(name))
                worth[name] = float(amplitude)
            for n, part in enumerate(layer.connections):
                c = part.connection
                if c.pool > 1 and c.pool_kind == "max":
                    raise ExportRefused(f"layer {name}: a maximum pool has no node in NIR")
                if c.identity:
                    if shape.emits == "spikes" and c.source == f"{name}_current":
                        continue                                     # its own currents
                    if worth[c.source] != 1 or c.pool != 1 or gain != 1:
                        raise ExportRefused(f"layer {name}: it adds spikes of {c.source} that are worth {worth[c.source]:g}, and "
                                            "NIR adds them as they are")
                    graph.edges.append((c.source, target))
                    continue
                scale, offset = part.affine()
                weight = part.weight * scale[:, None, None, None] * (worth[c.source] * gain)
                graph.connection(f"{name}_weights{n}", c.source, target, weight.numpy(), (offset * gain).numpy(), c.stride,
                                 c.padding, c.in_channels if c.depthwise else 1, c.pool)
    last = model.shapes[-1].name
    first = model.neuron.of(last)
    strict = any(layer.threshold.strict for layer in model.layers)
    graph.write(path, last, _dialect(first.reset, ">" if strict else ">="))


def export_integer(net: NetworkSpec, path: StrPath) -> None:
    """Write a NetworkSpec as NIR in codes, with its sidecar.

    Raises
    ------
    ExportRefused
        If a layer has no node in NIR: gates, lateral inhibition, reads of membranes, thresholds per step, maximum pools,
        resets elsewhere than to 0, membranes that start elsewhere than at 0.
    """
    graph = _Graph(net.input.shape, "SumPool2d")
    read = {p.source for layer in net.layers for p in layer.projections if p.reads == "membranes"}
    for layer in net.layers:
        for wrong, what in ((layer.name in read, "a layer whose membranes are read (synaptic currents, sums of spikes)"),
                            (layer.gate is not None, "a gate"), (layer.lateral is not None, "lateral inhibition"),
                            (layer.neuron.v_reset != 0, "a reset to something else than 0"),
                            (layer.v_init is not None, "a membrane that starts elsewhere than at 0"),
                            (layer.theta is not None and layer.theta.shape[0] > 1, "thresholds per time step"),
                            (any(p.pool > 1 and p.pool_kind == "max" for p in layer.projections), "a maximum pool"),
                            (layer.neuron.reset != net.layers[0].neuron.reset, "a reset unlike that of other layers")):
            if wrong:
                raise ExportRefused(f"layer {layer.name}: {what} has no node in NIR")
        shape = graph.shapes[layer.name] = layer.shape
        theta = None if layer.theta is None else np.broadcast_to(layer.theta[0], shape).transpose(2, 0, 1)
        flat = max(shape[:2]) == 1
        if theta is not None and flat:
            theta = theta.reshape(-1)
        graph.nodes[layer.name] = _neurons(layer.name, (shape[2],) if flat else graph.channels_first(shape),
                                           layer.neuron.leak.factor, theta)
        for n, p in enumerate(layer.projections):
            weight = p.weights.transpose(3, 2, 0, 1).astype(np.float64)
            bias = np.zeros(shape[2]) if layer.bias is None or n else layer.bias.astype(np.float64)
            graph.connection(f"{layer.name}_weights{n}", p.source, layer.name, weight, bias, p.stride, p.padding, p.groups, p.pool)
    description, _ = describe(net)
    shapes = {layer.name: list(layer.theta.shape) for layer in net.layers if layer.theta is not None}
    graph.write(path, net.layers[-1].name, _dialect(net.layers[0].neuron.reset, ">="), {**description, "theta_shapes": shapes})


def network_of(graph: nir.NIRGraph, description: dict[str, Any]) -> NetworkSpec:
    """The NetworkSpec of a graph in codes: weights, biases and thresholds from its nodes, the rest from the sidecar.

    Raises
    ------
    ImportRefused
        If the graph does not have what the sidecar describes.
    """
    tensors, current = {}, "the graph"
    if not isinstance(description, dict) or not {"layers", "input", "steps", "readout", "theta_shapes"} <= set(description):
        raise ImportRefused("the sidecar's network must be what export-nir wrote: layers, input, steps, readout, theta_shapes")
    if description.get("version") != VERSION:
        raise ImportRefused(f"the sidecar's network has version {description.get('version')!r}, and this program reads {VERSION}: "
                            "export it again")
    try:
        for layer in description["layers"]:
            name, (height, width, channels) = layer["name"], layer["shape"]
            current = f"node {name}"
            node = graph.nodes[name]
            if hasattr(node, "v_threshold"):
                theta = np.asarray(node.v_threshold, np.float64)
                theta = theta.reshape(channels, height, width).transpose(1, 2, 0)[None]
                _, h, w, c = description["theta_shapes"][name]
                if not (theta == theta[:, :h, :w, :c]).all():
                    raise ValueError(f"thresholds must be {h} x {w} x {c} different ones, and are more")
                tensors[f"{name}.theta"] = _whole(theta[:, :h, :w, :c])
            for n in range(len(layer["projections"])):
                current = f"node {name}_weights{n}"
                node = graph.nodes[f"{name}_weights{n}"]
                weight = np.asarray(node.weight, np.float64)
                if weight.ndim == 2:
                    source = graph.nodes[f"{name}_weights{n}_flat"].input_type["input"]
                    weight = weight.reshape(len(weight), *(int(side) for side in source))
                tensors[f"{name}.{n}.weights"] = _whole(weight.transpose(2, 3, 1, 0))
                if n == 0 and np.any(node.bias):
                    tensors[f"{name}.bias"] = _whole(np.asarray(node.bias))
        return rebuild(description, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImportRefused(f"{current} does not fit the sidecar's integer network: {' '.join(str(error).split())}") from None


def _whole(values: Array) -> Array:
    whole = np.rint(values).astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"codes must be integers, and {values[whole != values].flat[0]:g} is not")
    return whole
