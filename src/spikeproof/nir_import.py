"""Networks of other libraries, by NIR (:mod:`spikeproof.nir_files`).

What the integer contract cannot say is refused, in a sentence that names the node; nothing is approximated. (Constants become fixed
point later, in the quantized network.)
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .nir_files import Dialect, ImportRefused

if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    import nir

    from .annotations import Array, Entry

    #: (C, H, W), (C,), or None where it is not known.
    Map: TypeAlias = tuple[int, ...] | None

__all__ = ["Imported", "import_graph"]


@dataclass
class Imported:
    """What a graph became.

    Members
    -------
    layers : list of dicts, ``layers`` of an architecture of kind graph
    neurons : dict layer -> dict, ``layers`` of neurons of kind per_layer
    readout : "spike_count" or "membrane"
    weights : dict name -> float32 array, the state of the FloatNetwork
    input_shape : (height, width, channels), or None where the graph does not say; (1, 1, C) of a vector
    classes : int
    dialect : Dialect
    """
    layers: list[Entry]
    neurons: dict[str, Entry]
    readout: str
    weights: dict[str, Array]
    input_shape: tuple[int, int, int] | None
    classes: int
    dialect: Dialect


def _numbers(value: Any) -> Array:
    """Numbers of a node as float64; libraries leave arrays, scalars and tensors."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value, np.float64)


class _Reader:
    WEIGHTED = ("Affine", "Linear", "Conv2d")
    FIRING, SILENT = ("IF", "LIF", "CubaLIF"), ("I", "LI", "CubaLI")

    before: dict[str, list[str]]
    weights: dict[str, Array]
    layers: list[Entry]
    neurons: dict[str, Entry]
    flattened: set[str]

    def __init__(self, graph: nir.NIRGraph, dialect: Dialect, input_scale: float) -> None:
        self.nodes, self.dialect, self.input_scale = graph.nodes, dialect, input_scale
        self.before = {name: [] for name in graph.nodes}
        for source, target in dict.fromkeys(graph.edges):
            for end in (source, target):
                if end not in graph.nodes:
                    raise ImportRefused(f"edge {source} -> {target} is to a node {end} that the graph has not")
            self.before[target].append(source)
        self.kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
        known = {*self.WEIGHTED, *self.FIRING, *self.SILENT, "Input", "Output", "Flatten", "AvgPool2d", "SumPool2d", "Scale"}
        for name, kind in self.kinds.items():
            if kind not in known:
                raise ImportRefused(f"node {name} is a {kind}, which the integer contract cannot say" + (
                    ": a graph within the graph" if kind == "NIRGraph" else ""))
        self.after = {name: [t for s, t in graph.edges if s == name] for name in graph.nodes}
        self.weights, self.layers, self.neurons, self.flattened = {}, [], {}, set()
        self.built = 0                                               # layers of the network that is built: currents are their own

    def fail(self, name: str, why: str) -> NoReturn:
        raise ImportRefused(f"node {name} ({self.kinds[name]}) {why}")

    def one(self, name: str, field: str) -> float:
        """A parameter that is the same for all neurons of a node."""
        values = np.unique(_numbers(getattr(self.nodes[name], field)))
        if np.isnan(values).any() or not len(values):
            self.fail(name, f"must have numbers as its {field}")
        if len(values) != 1:
            self.fail(name, f"must have one {field} for the whole layer, not {len(values)} different ones")
        return float(values[0])

    def known(self, name: str, field: str, how: str) -> Any:
        value = getattr(self.dialect, field)
        if value is None:
            self.fail(name, f"leaves open {how}, which NIR does not say: give --{field}")
        return value

    def order(self) -> list[str]:
        """Neuron nodes, each after all that drive it."""
        done: set[str]
        done, out = set(), []
        for first in self.nodes:
            path = {first: iter(self.before[first])}                 # nodes that are being visited, each with its sources to come
            while path and first not in done:
                name = next(reversed(path))
                source = next((of for of in path[name] if of not in done), None)
                if source is not None and source in path:
                    self.fail(source, "drives itself: a recurrent network cannot be said in the integer contract")
                if source is not None:
                    path[source] = iter(self.before[source])
                    continue
                del path[name]
                done.add(name)
                if self.kinds[name] in self.FIRING + self.SILENT:
                    out.append(name)
        return out

    def factor(self, name: str, tau: float) -> tuple[float, float]:
        """The factor that a state keeps per step, and the gain of its input without R."""
        dt = self.known(name, "dt", "the time step")
        rule = self.known(name, "decay", "how a time constant decays in a step")
        gain = self.known(name, "gain", "the gain of its input")
        if tau <= 0:
            self.fail(name, f"must have a time constant above 0, not {tau:g}")
        keeps = 1 - dt / tau if rule == "euler" else math.exp(-dt / tau)
        if -1e-6 < keeps < 0:                                        # a factor of 0 came through float32
            keeps = 0.0
        if not 0 <= keeps < 1:
            self.fail(name, f"has a time constant of {tau:g}, less than a step of {dt:g}: --dt must be that of its library")
        keeps = float(np.float32(keeps))                             # what libraries compute with
        return keeps, {"euler": dt / tau, "exponential": 1 - keeps, "none": 1.0}[gain]

    def constants(self, name: str) -> tuple[Entry, float, float]:
        """dict for a per_layer neuron, gain of the input, offset that is added at every step."""
        node, kind = self.nodes[name], self.kinds[name]
        found: Entry
        found, offset = {}, 0.0
        gain = self.one(name, "r")
        tau = None if kind in ("IF", "I") else self.one(name, "tau_mem" if kind.startswith("Cuba") else "tau")
        if tau is None:
            found["decay"] = 1.0
        elif tau == math.inf == gain and not kind.startswith("Cuba"):
            found["decay"], gain = 1.0, 1.0                          # a factor of 1, as snnTorch writes it
        else:
            found["decay"], own = self.factor(name, tau)
            gain *= own
            offset = self.one(name, "v_leak") * own
        if kind.startswith("Cuba"):
            decay, own = self.factor(name, self.one(name, "tau_syn"))
            gain *= own * self.one(name, "w_in")
            found["synapse"] = {"decay": decay}
            if offset:
                self.fail(name, "must have a v_leak of 0 beside a synaptic current")
        if kind in self.FIRING:
            found["threshold"] = self.one(name, "v_threshold")
            if found["threshold"] <= 0:
                self.fail(name, f"must have a threshold above 0, not {found['threshold']:g}")
            self.known(name, "reset", "how a spike resets the membrane")
            self.known(name, "fires", "whether a membrane at its threshold spikes")
            if hasattr(node, "v_reset") and self.one(name, "v_reset") != 0:
                self.fail(name, f"must be reset to 0 or by its threshold, not to {self.one(name, 'v_reset'):g}")
        if not math.isfinite(gain) or gain == 0:
            self.fail(name, f"must have a finite gain of its input, and not 0: R gives {gain:g}")
        # 1 came through float32, as 0.99999994.
        return found, 1.0 if abs(gain - 1) < 1e-5 else gain, offset

    def pair(self, name: str, field: str, what: str) -> int:
        """Two equal numbers of a node as one."""
        value = getattr(self.nodes[name], field)
        if isinstance(value, str | bytes):
            text = value.decode() if isinstance(value, bytes) else value
            kernel = self.nodes[name].weight.shape[2:]
            if text == "same" and kernel[0] == kernel[1] and kernel[0] % 2:
                return kernel[0] // 2
            if text == "valid":
                return 0
            self.fail(name, f"must have a {what} that is the same on all sides, not {text!r} with a {kernel[0]}x{kernel[1]} kernel")
        values = np.unique(_numbers(value))
        if len(values) != 1 or values[0] != int(values[0]):
            self.fail(name, f"must have the same {what} both ways, not {np.asarray(value).tolist()}")
        return int(values[0])

    def path(self, name: str) -> tuple[str, str | None, int, bool, float, float, bool]:
        """From a node that drives neurons back to neurons or the input.

        (source, weighted node or None, pool, flattened, factor of the weights, factor of what comes out of them, whether that is
        flattened)
        """
        weighted: str | None
        weighted, pool, flat, scale, behind, at, late = None, 1, False, 1.0, 1.0, name, False
        while self.kinds[at] not in self.FIRING + self.SILENT + ("Input",):
            kind = self.kinds[at]
            if kind in self.WEIGHTED:
                if weighted is not None:
                    self.fail(at, f"leads to {weighted} without neurons between them: make one of the two")
                weighted = at
            elif kind in ("AvgPool2d", "SumPool2d"):
                if weighted is None:
                    self.fail(at, "pools behind the weights: neurons pool before them")
                if pool != 1:
                    self.fail(at, "is a second pool between two layers: make one of the two")
                pool = self.pair(at, "kernel_size", "kernel")
                if pool < 1 or self.pair(at, "stride", "stride") != pool or self.pair(at, "padding", "padding"):
                    self.fail(at, "must pool side by side: stride equal to the kernel, and no padding")
                scale *= pool**2 if kind == "SumPool2d" else 1
            elif kind == "Scale":
                scale, behind = (scale * self.one(at, "scale"), behind) if weighted else (scale, behind * self.one(at, "scale"))
            elif kind == "Flatten":
                if pool != 1:
                    self.fail(at, "flattens what is pooled later")
                flat, late = flat or weighted is not None, late or weighted is None
            else:
                self.fail(at, "must not drive neurons")
            if len(self.before[at]) != 1:
                self.fail(at, f"must have one node before it, not {len(self.before[at])}")
            at = self.before[at][0]
        if self.kinds[at] in self.SILENT:
            self.fail(at, "does not spike, so it must be the last layer")
        return at, weighted, pool, flat or at in self.flattened, scale, behind, late

    def read(self) -> Imported:
        order = self.order()
        ends = [name for name, kind in self.kinds.items() if kind == "Output"]
        inputs = [name for name, kind in self.kinds.items() if kind == "Input"]
        if len(ends) != 1 or len(inputs) != 1:
            raise ImportRefused(f"the graph must have one Input and one Output, not {len(inputs)} and {len(ends)}")
        last = self.before[ends[0]]
        if len(last) != 1 or self.kinds[last[0]] not in self.FIRING + self.SILENT:
            self.fail(last[0] if last else ends[0], "must not be the end of the network: that is neurons, an I or LI node if their "
                                                    "membrane is to be read")
        if self.after[last[0]] != ends:
            self.fail(last[0], "is the last layer, so it must drive the Output alone")
        for name, kind in self.kinds.items():
            if kind not in ("Input", "Output") and (not self.before[name] or not self.after[name]):
                self.fail(name, f"has nothing {'after' if self.before[name] else 'before'} it")
        shape = self.shape_of(inputs[0])
        maps: dict[str, Map] = {inputs[0]: shape}                    # (C, H, W), (C,), or None
        names = {inputs[0]: "input"}
        for name in [n for n in order if n != last[0]] + [last[0]]:
            names[name] = self.plain(name, names)
            self.layer(name, names, maps)
        read = maps[last[0]]
        assert read is not None
        said = self.shape_of(ends[0], "output_type")
        if said is not None and np.prod(said) != np.prod(read):
            self.fail(ends[0], f"says {np.prod(said)} outputs, and {last[0]} has {np.prod(read)}")
        readout = "spike_count" if self.kinds[last[0]] in self.FIRING else "membrane"
        if shape is not None:
            shape = (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, shape[0])
        return Imported(self.layers, self.neurons, readout, self.weights, shape, int(np.prod(read)), self.dialect)

    def shape_of(self, name: str, which: str = "input_type") -> Map:
        given = getattr(self.nodes[name], which) or {}
        shape = next(iter(given.values()), None)
        if shape is None:
            return None
        shape = tuple(int(n) for n in np.atleast_1d(shape) if n is not None)
        while len(shape) > 1 and len(shape) != 3 and shape[0] == 1:
            shape = shape[1:]
        return shape if len(shape) in (1, 3) else self.fail(name, f"must have a shape [C] or [C, H, W], not {list(shape)}")

    def plain(self, name: str, names: dict[str, str]) -> str:
        """A name that the contract takes."""
        word = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
        word = word if word[:1].isalpha() else f"layer_{word}"
        while word in names.values() or word == "input":
            word += "_"
        return word

    def layer(self, name: str, names: dict[str, str], maps: dict[str, Map]) -> None:
        found, gain, offset = self.constants(name)
        connection: Entry
        connections: list[Entry]
        given: Map
        size: Map
        made: tuple[int, ...]
        k, label, connections, size, channels = self.built, names[name], [], None, None
        paths = [self.path(source) for source in self.before[name]]
        if paths[0][1] is None:
            paths.sort(key=lambda path: path[1] is None)             # what has weights first
        if paths[0][1] is None:
            self.fail(name, "must have weights before it")
        if any(path[-1] for path in paths):
            self.flattened.add(name)
        for n, (source, weighted, pool, flat, scale, behind, _) in enumerate(paths):
            connection, given = {"source": names[source]}, maps[source]
            behind *= gain
            scale *= behind
            if self.kinds[source] == "Input":
                scale *= self.input_scale
            if weighted is None:
                if scale != 1 or pool != 1:
                    self.fail(name, f"adds {source} times {scale:g}: only spikes that are worth 1 can be added")
                connections.append({**connection, "identity": True})
                continue
            if pool > 1:
                connection["pool"] = pool
                given = given and (given[0], *(side // pool for side in given[1:]))
            node, kind = self.nodes[weighted], self.kinds[weighted]
            weight = _numbers(node.weight)
            bias = _numbers(node.bias) if kind != "Linear" else np.zeros(weight.shape[0])
            limit = float(np.finfo(np.float32).max)
            for what, values in (("weights", weight * scale), ("biases", bias * behind)):
                if not (np.abs(values) <= limit).all():              # NaN is not
                    self.fail(weighted, f"must have finite {what}")
            if bias.shape != weight.shape[:1] or weight.ndim != (4 if kind == "Conv2d" else 2):
                self.fail(weighted, f"must have a bias for each of its {weight.shape[0]} outputs, not {list(bias.shape)} beside "
                                    f"weights {list(weight.shape)}")
            if kind == "Conv2d":
                if self.pair(weighted, "dilation", "dilation") != 1 or int(node.groups) != 1:
                    self.fail(weighted, "must have dilation 1 and one group")
                stride, padding = self.pair(weighted, "stride", "stride"), self.pair(weighted, "padding", "padding")
                if given is None:
                    size_in = node.input_shape
                    if size_in is None:
                        self.fail(weighted, "does not say the size of its map, and neither does the input")
                    given = (weight.shape[1], *(int(side) for side in size_in))
                    maps[source] = given if pool == 1 else None
                elif node.input_shape is not None and tuple(int(n) for n in np.atleast_1d(node.input_shape)) != tuple(given[1:]):
                    self.fail(weighted, f"says a map of {np.asarray(node.input_shape).tolist()}, and {source} gives {list(given)}")
                if len(given) != 3 or given[0] != weight.shape[1]:
                    self.fail(weighted, f"takes {weight.shape[1]} channels, and {source} gives {list(given)}")
                connection |= {"kernel": list(weight.shape[2:]), "stride": stride, "padding": padding}
                made = (weight.shape[0], *((side + 2 * padding - kernel) // stride + 1
                                           for side, kernel in zip(given[1:], weight.shape[2:])))
            else:
                if given is None:
                    given = maps[source] = (weight.shape[1],)
                if weight.shape[1] != np.prod(given) or len(given) == 3 and not flat:
                    self.fail(weighted, f"takes {weight.shape[1]} inputs, and {source} gives {list(given)}"
                              + ("" if flat or len(given) == 1 else " that are not flattened"))
                weight = weight.reshape(weight.shape[0], *(given if len(given) == 3 else (given[0], 1, 1)))
                made = (weight.shape[0],) if flat or len(given) == 1 else (weight.shape[0], 1, 1)
            if size is not None and size != made:
                self.fail(name, f"is driven by maps of {list(size)} and {list(made)}")
            size, channels = made, made[0]
            self.weights[f"layers.{k}.connections.{n}.weight"] = (weight * scale).astype(np.float32)
            own = bias * behind + (offset if n == 0 else 0.0)
            self.weights[f"layers.{k}.connections.{n}.bias"] = own.astype(np.float32)
            connections.append(connection)
        assert size is not None and channels is not None
        count = np.asarray(_numbers(self.nodes[name].r)).size
        if count not in (1, np.prod(size)):
            self.fail(name, f"has constants for {count} neurons, and is driven by a map of {list(size)}")
        maps[name] = size
        self.layers.append({"name": label, "channels": int(channels), "connections": connections})
        self.neurons[label] = found
        # Where there is a synapse, the weights stand in the layer of the currents, and the neurons follow in one of their own.
        self.built += 2 if "synapse" in found else 1


def import_graph(graph: nir.NIRGraph, dialect: Dialect, input_scale: float = 1.0) -> Imported:
    """NIR graph -> Imported.

    Parameters
    ----------
    graph : nir.NIRGraph
    dialect : Dialect
    input_scale : float, what the largest input code is worth to the network (inputs of 0 .. 1: 1)

    Raises
    ------
    ImportRefused
        If the integer contract cannot say it, or the dialect leaves something open; the sentence names the node.
    """
    if not (math.isfinite(input_scale) and input_scale > 0):
        raise ImportRefused(f"--input-scale must be a number above 0, not {input_scale:g}")
    return _Reader(graph, dialect, input_scale).read()
