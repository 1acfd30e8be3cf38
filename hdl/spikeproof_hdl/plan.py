"""What of a network the core builds in parallel, what shares hardware, and what it refuses to build."""
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from numbers import Integral

import numpy as np

from spikeproof.network import NetworkSpec
from spikeproof.projections import INPUT

from .layout import (
    FETCH,
    FETCH_WORDS,
    MAX_LANES,
    EnginePlan,
    GatherPlan,
    LayerPlan,
    Pass,
    Region,
    Segment,
    Store,
    Target,
    Unbuildable,
    Weights,
    divisor,
    flat_input,
    is_channelwise,
    is_flat,
    most_lanes,
    pitch_of,
    synapses,
    walked_as,
    width_of,
)

__all__ = ["CorePlan"]


@dataclass(frozen=True, eq=False)
class CorePlan:
    """A network and the parallelism of its core.

    Parameters
    ----------
    net : NetworkSpec
    layers : tuple of LayerPlan
    word : int, codes of one word of the input stream
    engines : tuple of tuples of int: runs of neighbouring layers, each of which shares one engine
    loadable : bool, whether weights, thresholds, biases and initial membranes can be written and read back at run time

    Raises
    ------
    Unbuildable
        If the network needs hardware that the core lacks, or lanes do not divide.
    """
    net: NetworkSpec
    layers: tuple
    word: int
    engines: tuple
    loadable: bool = False

    def __post_init__(self):
        channels = self.input_shape[2]
        if not 1 <= self.word <= channels:
            raise Unbuildable(f"word must be from 1 to {channels}, the input channels, not {self.word}")
        if [k for engine in self.engines for k in engine] != list(range(len(self.net.layers))) or () in self.engines:
            raise Unbuildable(f"engines must be runs of the layers in order, not {self.engines}")
        used = {self.net.layers[-1].name} | {layer.gate for layer in self.net.layers} \
            | {p.source for layer in self.net.layers for p in layer.projections}
        if not any(p.source == INPUT for layer in self.net.layers for p in layer.projections):
            raise Unbuildable("the input must be the source of a layer, but nothing reads it")
        for layer, plan in zip(self.net.layers, self.layers, strict=True):
            if layer.name not in used:
                raise Unbuildable(f"layer {layer.name}: its spikes must be the source of a layer, but nothing reads them")
            if sum(self.net.input_bits(p)[0] > 1 for p in layer.projections) > 1:
                raise Unbuildable(f"layer {layer.name}: at most one source may have n-bit codes")
            for projection in layer.projections:
                width, word = width_of(projection), self.source_word(projection.source)
                if plan.lanes < 1 or width % plan.lanes:
                    what = "output channels" + (" of a group" if width < layer.shape[2] else "")
                    raise Unbuildable(f"layer {layer.name}: lanes must divide the {width} {what}, not {plan.lanes}")
                projection = walked_as(projection, plan.lanes)
                channels = projection.in_channels // projection.groups
                if projection.groups > 1 and channels % word and word % channels:
                    raise Unbuildable(f"layer {layer.name}: the {channels} input channels of a group and its source's words "
                                      f"of {word} must divide one another; change the lanes of {projection.source!r}")
            if layer.gate is not None and self.net.by_name[layer.gate].shape[2] > 1 and self.source_word(layer.gate) != plan.lanes:
                raise Unbuildable(f"layer {layer.name}: lanes must be the {self.source_word(layer.gate)} of its gate "
                                  f"{layer.gate!r}, not {plan.lanes}")
            if plan.updaters < 1 or plan.lanes % plan.updaters:
                raise Unbuildable(f"layer {layer.name}: updaters must divide the {plan.lanes} lanes, not {plan.updaters}")
        if self.layers[-1].updaters != 1:
            raise Unbuildable(f"layer {self.net.layers[-1].name}: updaters must be 1 in the last layer, "
                              f"not {self.layers[-1].updaters}")
        for engine in self.engines:
            if len({self.layers[k].updaters for k in engine}) > 1:
                raise Unbuildable(f"engine of {self.net.layers[engine[0]].name}: its layers must have equal updaters")

    @property
    def input_shape(self):
        """(height, width, channels) of a frame as the input stream takes it."""
        height, width, channels = self.net.input.shape
        return (1, 1, height * width * channels) if flat_input(self.net) else self.net.input.shape

    @property
    def frame_words(self):
        """Words of one frame of the input stream."""
        height, width, channels = self.input_shape
        return height * width * -(-channels // self.word)

    @property
    def image_words(self):
        """Words of one image of the input stream: of a constant input one frame, else a frame for every step."""
        return self.frame_words * (1 if self.net.input.constant else self.net.steps)

    @property
    def class_bits(self):
        """Bits of a class, the payload of the output stream."""
        return (max(self.net.classes, 2) - 1).bit_length()

    def index(self, name):
        """Position of a layer in the network."""
        return self._indices[name]

    @cached_property
    def _indices(self):
        return {layer.name: k for k, layer in enumerate(self.net.layers)}

    def source_word(self, source):
        """Codes of one word of the stream of a layer or the input."""
        return self.word if source == INPUT else self.layers[self.index(source)].lanes

    def engine_of(self, source):
        """Position of the engine that gives a stream; -1 for the input."""
        if source == INPUT:
            return -1
        return next(e for e, engine in enumerate(self.engines) if self.index(source) in engine)

    @cached_property
    def engine_plans(self):
        """tuple of EnginePlan"""
        return tuple(_EnginePlanner(self, e).plan() for e in range(len(self.engines)))

    def to_dict(self):
        """The parallelism as JSON values; :meth:`from_dict` makes the plan of the same network from it."""
        return {"word": self.word, "loadable": self.loadable, "engines": [list(engine) for engine in self.engines],
                "layers": {layer.name: asdict(part) for layer, part in zip(self.net.layers, self.layers)}}

    @classmethod
    def from_dict(cls, net, given):
        """From a network and what :meth:`to_dict` gave; KeyError, TypeError or ValueError where they do not fit."""
        parts = tuple(LayerPlan(**given["layers"][layer.name]) for layer in net.layers)
        return cls(net, parts, given["word"], tuple(tuple(engine) for engine in given["engines"]), given["loadable"])

    def targets(self, sources):
        """The frame memories that some streams fill.

        Parameters
        ----------
        sources : list of layer names, or ["input"]; those of one engine

        Returns
        -------
        list of Target; positions in ``regions`` are those in ``sources``
        """
        found = []
        for e, plan in enumerate(self.engine_plans):
            for port, store in plan.stores():
                regions = {sources.index(region.source): r for r, region in enumerate(store.regions)
                           if region.source in sources}
                if regions:
                    found.append(Target(store, (e, *port), regions))
        return found

    @classmethod
    def of(cls, net, lanes=None, updaters=1, word=None, fold=False, fetch=FETCH, loadable=False):
        """Plan a network.

        Parameters
        ----------
        lanes : int, the most lanes a layer may have (the largest divisor of its channels, or of those of a group, is
            taken), a sequence of one exact number per layer, or None for at most 16
        updaters : int, the most updaters a layer may have; the last layer, and an engine that shares it, has 1
        word : int, input codes per word of the core's input stream, or None for at most 16
        fold : False, an engine per layer; True, one engine for all; or a sequence of numbers of neighbouring layers
            that share an engine
        fetch : int, codes that one read of a frame memory brings, at most; layers with little to do get less
        """
        listed = isinstance(lanes, (list, tuple))
        for name, value in (("lanes", 1 if lanes is None or listed else lanes), ("updaters", updaters)):
            if not isinstance(value, Integral) or value < 1:
                raise Unbuildable(f"{name} must be a whole number, at least 1, not {value}")
        count = len(net.layers)
        if isinstance(fold, (bool, np.bool_)):
            fold = [count] if fold else [1] * count
        sizes = list(fold) if isinstance(fold, (list, tuple)) else [fold]
        if not all(isinstance(size, Integral) and size >= 1 for size in sizes) or sum(sizes) != count:
            raise Unbuildable(f"fold must be numbers of layers, 1 or more each, that add up to {count}, not {sizes}")
        ends = np.cumsum(sizes).tolist()
        engines = tuple(tuple(range(end - size, end)) for end, size in zip(ends, sizes))
        most = [most_lanes(layer) for layer in net.layers]
        position = {layer.name: k for k, layer in enumerate(net.layers)}
        chosen = list(lanes) if listed else [divisor(m, lanes or MAX_LANES) for m in most]
        if len(chosen) != count:
            raise Unbuildable(f"lanes must be one number for each of the {count} layers, not {len(chosen)}")
        if not listed:
            for k, layer in enumerate(net.layers):              # the gates of a group of lanes come in one word
                if layer.gate is not None and net.by_name[layer.gate].shape[2] > 1:
                    chosen[position[layer.gate]] = chosen[k] = min(chosen[k], chosen[position[layer.gate]])
                for p in layer.projections:                     # channel-wise, lanes are channels of the source's words
                    if is_channelwise(p) and p.source != INPUT:
                        given = chosen[position[p.source]]
                        chosen[k] = next(d for d in range(chosen[k], 0, -1)
                                         if most[k] % d == 0 and (d % given == 0 or given % d == 0))
        units = [divisor(max(n, 1), updaters) for n in chosen]
        for engine in engines:
            common = 1 if count - 1 in engine else min(units[k] for k in engine)
            while any(chosen[k] % common for k in engine):
                common -= 1
            for k in engine:
                units[k] = common
        if word is None:
            readers = [walked_as(p, n) for layer, n in zip(net.layers, chosen) for p in layer.projections if p.source == INPUT]
            channels = int(np.prod(net.input.shape)) if flat_input(net) or not readers else \
                min(p.in_channels // p.groups for p in readers)
            word = divisor(channels, MAX_LANES)
        # Wide fetches skip silence faster; layers with little to do are not worth them.
        work = [synapses(layer) // n for layer, n in zip(net.layers, chosen)]
        engine_work = {k: sum(work[n] for n in engine) for engine in engines for k in engine}
        fetches = [fetch if 4 * engine_work[k] >= max(engine_work.values()) else 1 for k in range(count)]
        return cls(net, tuple(LayerPlan(n, u, f) for n, u, f in zip(chosen, units, fetches)), word, engines, loadable)


class _EnginePlanner:
    """Assigns the projections of an engine's layers to gathers, regions and weight memories."""

    def __init__(self, core, position):
        self.core, self.position, self.members = core, position, core.engines[position]
        self.gathers, self.weights = [], {}

    def plan(self):
        net = self.core.net
        names = [net.layers[k].name for k in self.members]
        order = tuple(self._layer(k) for k in self.members)
        gathers = []
        for gather in self.gathers:
            passes, stores = gather["passes"], gather["stores"]
            last = {(p["store"], p["region"]): n for n, p in enumerate(passes)}
            last_gate = {p["gate"]: n for n, p in enumerate(passes)}
            built = tuple(Pass(**{**p, "release": last[p["store"], p["region"]] == n,
                                  "release_gate": last_gate[p["gate"]] == n}) for n, p in enumerate(passes))
            gathers.append(GatherPlan(built, self._stores(stores), self._stores(gather["gates"])))
        name = names[0] if len(names) == 1 else f"{names[0]}_to_{names[-1]}"
        weights = tuple(Weights(codec, lanes, channelwise, tuple(segments))
                        for (_, lanes, channelwise), (codec, segments) in self.weights.items())
        return EnginePlan(name, self.members, tuple(gathers), order, weights)

    def _stores(self, stores):
        return tuple(Store(tuple(regions), key[0] is not None) for key, regions in stores.items())

    def _layer(self, k):
        """Place the projections of a layer; returns its (gather, projection number), n-bit codes first."""
        net, layer = self.core.net, self.core.net.layers[k]
        numbers = sorted(range(len(layer.projections)), key=lambda n: -net.input_bits(layer.projections[n])[0])
        order, used = [], set()
        for number in numbers:
            projection = layer.projections[number]
            region = self._region(projection, self.core.layers[k])
            g = 0
            while g in used or not self._fits(g, region):
                g += 1
            if g == len(self.gathers):
                self.gathers.append({"passes": [], "stores": {}, "gates": {}})
            used.add(g)
            order.append((g, number))
            self._place(self.gathers[g], k, number, projection, region)
        return tuple(order)

    def _region(self, projection, parallel):
        core, net = self.core, self.core.net
        bits, signed = net.input_bits(projection)
        arrives = core.input_shape if projection.source == INPUT else net.source_shape(projection)
        pool = projection.pool if projection.pool_kind == "max" else 1
        kept = (arrives[0] // pool, arrives[1] // pool, arrives[2])
        flat = is_flat(projection, kept) and (projection.source != INPUT or flat_input(net)) and kept[:2] != (1, 1)
        word = core.source_word(projection.source)
        region = Region(projection.source, projection.reads, arrives, pool, flat, word, bits, 1, self._banks(projection.source),
                        signed)
        groups = walked_as(projection, parallel.lanes).groups
        channels = region.shape[2] // groups
        fetch = min(region.words, FETCH_WORDS, max(1, parallel.fetch // word))
        if groups > 1:
            fetch = divisor(channels // word, fetch) if channels % word == 0 else 1
        return replace(region, fetch=fetch)

    def _banks(self, source):
        """Frames that are kept of a map: one of the engine's own, else one more than the engines it comes past."""
        distance = self.position - self.core.engine_of(source)
        return distance + 1 if distance else 1

    def _key(self, region):
        """Regions of one memory: a stream from outside has its own; the engine's own maps share one by kind and width."""
        outside = region.source == INPUT or self.core.index(region.source) not in self.members
        return (region.source, region.reads) if outside else (None, region.reads, region.bits)

    def _fits(self, g, region):
        """Whether a gather keeps no other view of the same stream."""
        if g == len(self.gathers):
            return True
        held = self.gathers[g]["stores"].get(self._key(region), [])
        return all(other == region or (other.source, other.reads) != (region.source, region.reads) for other in held)

    @staticmethod
    def _keep(stores, key, region):
        regions = stores.setdefault(key, [])
        if region not in regions:
            regions.append(region)
        return list(stores).index(key), regions.index(region)

    def _place(self, gather, k, number, projection, region):
        core, net, layer = self.core, self.core.net, self.core.net.layers[k]
        bits, signed = net.input_bits(projection)
        store, at = self._keep(gather["stores"], self._key(region), region)
        gate = None
        if layer.gate is not None:
            shape, word = net.by_name[layer.gate].shape, core.source_word(layer.gate)
            held = Region(layer.gate, "spikes", shape, 1, False, word, 1, 1, self._banks(layer.gate))
            gate = self._keep(gather["gates"], self._key(held), held)
        lanes, channelwise = core.layers[k].lanes, is_channelwise(projection)
        walked = replace(walked_as(projection, lanes), pool=1 if region.pool > 1 else projection.pool)
        if region.shape[:2] == (1, 1) and projection.padding == 0:
            walked = replace(walked, weights=walked.weights.reshape(1, 1, -1, projection.out_channels), stride=1)
        codec, segments = self.weights.setdefault((projection.codec.name, lanes, channelwise), (projection.codec, []))
        row = sum(segment.rows for segment in segments) * pitch_of(lanes, channelwise)
        pitch = pitch_of(lanes, channelwise) if channelwise else walked.weights.shape[2]
        segments.append(Segment(layer.name, number, projection.weights.size // lanes))
        gather["passes"].append({
            "layer": k, "number": number, "projection": walked, "store": store, "region": at, "bits": bits, "signed": signed,
            "lanes": lanes, "row": row, "pitch": pitch, "gate": gate,
            "constant": projection.source == INPUT and net.input.constant})
