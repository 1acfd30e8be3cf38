"""What of a network the core builds in parallel, what shares hardware, and what it refuses to build."""
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from spikeproof.network import INPUT, NetworkSpec

__all__ = ["CorePlan", "EnginePlan", "GatherPlan", "LayerPlan", "Pass", "Region", "Store", "Target", "Unbuildable", "Weights",
           "divisor", "is_channelwise", "most_lanes", "synapses"]

MAX_LANES = 16
#: Codes and words that one read of a frame memory brings, at most (unless one word of the stream has more).
FETCH, FETCH_WORDS = 64, 4
#: Spikes that a scanner looks at in one cycle, at most, and tokens that wait for it.
SCAN, QUEUE = 16, 4


class Unbuildable(ValueError):
    """The network is valid, but the core has no hardware for it."""


def divisor(n, most):
    """The largest divisor of n that is at most ``most``."""
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


@dataclass(frozen=True)
class LayerPlan:
    """Parallelism of one layer.

    Parameters
    ----------
    lanes : int, neurons (output channels) that accumulate at once; divides the output channels
    updaters : int, neurons leaked, fired and stored in a cycle; divides ``lanes``
    fetch : int, codes that one read of a frame memory brings, at most; a word of the stream at least
    """
    lanes: int
    updaters: int
    fetch: int = FETCH


@dataclass(frozen=True)
class Region:
    """One map in a frame memory.

    A *fetch* is one row of the memory: ``fetch`` neighbouring words of the stream. A pixel starts a new row.

    Parameters
    ----------
    source, reads : the stream that fills it: a layer or "input", its "spikes" or "membranes"
    arrives : (height, width, channels) of the map as it arrives
    pool : int, side of the windows of which the largest code is kept
    flat : bool, kept as one pixel of height * width * channels
    word, bits : int, codes of one word and bits of one code
    fetch : int, words of one row
    banks : int, frames that are kept at once
    signed : bool, whether codes are signed
    """
    source: str
    reads: str
    arrives: tuple
    pool: int
    flat: bool
    word: int
    bits: int
    fetch: int
    banks: int
    signed: bool = False

    @property
    def shape(self):
        """(height, width, channels) of the map as it is kept."""
        height, width, channels = self.arrives
        shape = (height // self.pool, width // self.pool, channels)
        return (1, 1, int(np.prod(shape))) if self.flat else shape

    @property
    def words(self):
        """Words of a pixel."""
        return -(-self.shape[2] // self.word)

    @property
    def fetches(self):
        """Rows of a pixel."""
        return -(-self.words // self.fetch)

    @property
    def rows(self):
        """Rows of a frame."""
        return self.shape[0] * self.shape[1] * self.fetches


@dataclass(frozen=True)
class Store:
    """A frame memory: one region that is filled while another bank is walked, or regions that are filled in turn."""
    regions: tuple
    external: bool

    @property
    def key(self):
        """What fills it: (source, reads), or what the engine's own layers give: (None, reads, bits)."""
        first = self.regions[0]
        return (first.source, first.reads) if self.external else (None, first.reads, first.bits)

    @property
    def width(self):
        """Bits of a word."""
        return max(region.word * region.bits for region in self.regions)

    @property
    def fetch(self):
        """Words of a row."""
        return max(region.fetch for region in self.regions)

    @property
    def rows(self):
        """Rows of all banks of all regions."""
        return sum(region.rows * region.banks for region in self.regions)


@dataclass(frozen=True, eq=False)
class Pass:
    """One walk of a source map: a projection of a layer.

    Parameters
    ----------
    layer : int, of the layer in the network
    number : int, of the projection in the layer
    projection : Projection as walked: maximum pooling done, flattened where its kernel covers the map, channel-wise ones as
        groups of as many channels as there are lanes (shapes count here, not the weights)
    store, region : int, where its source map is kept
    bits, signed : of a code of the source
    lanes : int, output channels of one group
    row : int, its first row in the weight memory
    pitch : int, rows that a pixel of the window advances: its input channels, or a power of two where channel-wise
    gate : None, or (store, region) of the map of its layer's gate
    release : bool, whether this pass is the last to read the region in a time step
    release_gate : bool, the same for the gate's region
    constant : bool, whether the source is one frame for all time steps
    """
    layer: int
    number: int
    projection: object
    store: int
    region: int
    bits: int
    signed: bool
    lanes: int
    row: int
    pitch: int
    gate: tuple | None
    release: bool
    release_gate: bool
    constant: bool


@dataclass(frozen=True, eq=False)
class GatherPlan:
    """The passes of one gather, in the order of the engine's layers, and the maps that they read."""
    passes: tuple
    stores: tuple
    gates: tuple

    def region(self, p):
        """Where a pass's source map is kept."""
        return self.stores[p.store].regions[p.region]

    @property
    def fetch(self):
        """Words of a row, at most."""
        return max(store.fetch for store in self.stores)

    @property
    def _word(self):
        return max(region.word for store in self.stores for region in store.regions)

    @property
    def cuts(self):
        """Parts of a word, so that none has more than SCAN spikes."""
        return -(-self._word // SCAN)

    @property
    def part(self):
        """Spikes of a part."""
        return -(-self._word // self.cuts)

    def offsets(self, p):
        """Channels that the parts of a row lie behind its first one, for a pass."""
        region = self.region(p)
        return [(n // self.cuts) * region.word + (n % self.cuts) * self.part if n // self.cuts < region.fetch else 0
                for n in range(self.fetch * self.cuts)]

    @property
    def align(self):
        """Rows are counted in units of 2^align: of a part, where all walks stay on multiples of one."""
        steps = [step for p in self.passes
                 for step in (p.row, p.pitch, p.projection.weights.shape[2], self.region(p).word, *self.offsets(p))]
        aligned = self.part & (self.part - 1) == 0 and all(step % self.part == 0 for step in steps)
        return self.part.bit_length() - 1 if aligned else 0


@dataclass(frozen=True)
class Segment:
    """Rows of a memory that belong to one layer: ``number`` is the projection of weights, else 0."""
    layer: str
    number: int
    rows: int


@dataclass(frozen=True)
class Weights:
    """One weight memory: rows of a code per lane.

    A channel-wise memory serves projections with one weight per channel and kernel position. Its row holds the weights of as many
    neighbouring channels as there are lanes, and an event, which comes from one channel, adds the weight of its own lane alone: an
    event's row number is that of the memory, times ``pitch``, plus the lane.

    Parameters
    ----------
    codec : Codec
    lanes : int
    channelwise : bool
    segments : tuple of Segment
    """
    codec: object
    lanes: int
    channelwise: bool
    segments: tuple

    @property
    def rows(self):
        return sum(segment.rows for segment in self.segments)

    @property
    def pitch(self):
        """Row numbers of events per row of the memory."""
        return _pitch(self.lanes, self.channelwise)


def is_channelwise(projection):
    """Whether each output channel has one input channel of its own: a depthwise convolution, or the identity of a residual add."""
    return projection.groups == projection.in_channels == projection.out_channels > 1


def _pitch(lanes, channelwise):
    return 1 << (lanes - 1).bit_length() if channelwise else 1


def _walked(projection, lanes):
    """A channel-wise projection as one of groups of ``lanes`` channels, as the maps are walked; others as they are."""
    if not is_channelwise(projection):
        return projection
    return replace(projection, groups=projection.groups // lanes, weights=projection.weights.repeat(lanes, 2))


@dataclass(frozen=True, eq=False)
class EnginePlan:
    """One engine: the layers that it computes in turn in every time step, and what they share.

    Parameters
    ----------
    name : str, of its module
    layers : tuple of int, layers of the network
    gathers : tuple of GatherPlan
    order : tuple per layer of tuple of (gather, projection number), in the order in which they accumulate
    weights : tuple of Weights
    """
    name: str
    layers: tuple
    gathers: tuple
    order: tuple
    weights: tuple

    def stores(self):
        """(port, Store) of every frame memory; a port is (kind, gather, store), kind "i" for maps and "g" for gates."""
        for g, gather in enumerate(self.gathers):
            for kind, stores in (("i", gather.stores), ("g", gather.gates)):
                for n, store in enumerate(stores):
                    yield (kind, g, n), store


@dataclass(frozen=True, eq=False)
class Target:
    """A frame memory that an engine or the input fills: which of its streams (by position) fill which regions.

    ``port`` is (engine, kind, gather, store), as in :meth:`EnginePlan.stores`.
    """
    store: Store
    port: tuple
    regions: dict


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
                width, word = _width(projection), self.source_word(projection.source)
                if plan.lanes < 1 or width % plan.lanes:
                    what = "output channels" + (" of a group" if width < layer.shape[2] else "")
                    raise Unbuildable(f"layer {layer.name}: lanes must divide the {width} {what}, not {plan.lanes}")
                projection = _walked(projection, plan.lanes)
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
        return (1, 1, height * width * channels) if _flat(self.net) else self.net.input.shape

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
        for name, value in (("lanes", 1 if lanes is None else lanes), ("updaters", updaters)):
            if isinstance(value, int) and value < 1:
                raise Unbuildable(f"{name} must be at least 1, not {value}")
        count = len(net.layers)
        sizes = [count] if fold is True else [1] * count if fold is False else list(fold)
        if sum(sizes) != count or any(size < 1 for size in sizes):
            raise Unbuildable(f"fold must be numbers of layers, 1 or more each, that add up to {count}, not {sizes}")
        ends = np.cumsum(sizes).tolist()
        engines = tuple(tuple(range(end - size, end)) for end, size in zip(ends, sizes))
        most = [most_lanes(layer) for layer in net.layers]
        position = {layer.name: k for k, layer in enumerate(net.layers)}
        chosen = list(lanes) if isinstance(lanes, (list, tuple)) else [divisor(m, lanes or MAX_LANES) for m in most]
        if len(chosen) != count:
            raise Unbuildable(f"lanes must be one number for each of the {count} layers, not {len(chosen)}")
        if not isinstance(lanes, (list, tuple)):
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
            readers = [_walked(p, n) for layer, n in zip(net.layers, chosen) for p in layer.projections if p.source == INPUT]
            channels = int(np.prod(net.input.shape)) if _flat(net) or not readers else \
                min(p.in_channels // p.groups for p in readers)
            word = divisor(channels, MAX_LANES)
        # Wide fetches skip silence faster; layers with little to do are not worth them.
        work = [synapses(layer) // n for layer, n in zip(net.layers, chosen)]
        engine_work = {k: sum(work[n] for n in engine) for engine in engines for k in engine}
        fetches = [fetch if 4 * engine_work[k] >= max(engine_work.values()) else 1 for k in range(count)]
        return cls(net, tuple(LayerPlan(n, u, f) for n, u, f in zip(chosen, units, fetches)), word, engines, loadable)


def _width(projection):
    """Output channels that may accumulate at once: those of a group, and all of a channel-wise projection."""
    return projection.out_channels if is_channelwise(projection) else projection.out_channels // projection.groups


def most_lanes(layer):
    """The most lanes that a layer can have; every divisor of it is possible too."""
    return min(_width(p) for p in layer.projections)


def synapses(layer):
    """Synapses of a layer: the synaptic operations of a time step in which every input spikes."""
    height, width, _ = layer.shape
    return sum(height * width * p.weights.size * (p.pool**2 if p.pool_kind == "sum" else 1) for p in layer.projections)


def _is_flat(projection, shape):
    """Whether a kernel covers the whole map, so that it is a 1x1 kernel on a 1x1 map with the same weight rows."""
    return projection.kernel == tuple(shape[:2]) and projection.padding == 0 and projection.groups == 1 \
        and (projection.pool == 1 or projection.pool_kind == "max")


def _flat(net):
    """Whether every reader of the input sees it as a flat list, so that it comes as one."""
    readers = [p for layer in net.layers for p in layer.projections if p.source == INPUT]
    return all(p.pool == 1 and _is_flat(p, net.input.shape) for p in readers)


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
        flat = _is_flat(projection, kept) and (projection.source != INPUT or _flat(net)) and kept[:2] != (1, 1)
        word = core.source_word(projection.source)
        region = Region(projection.source, projection.reads, arrives, pool, flat, word, bits, 1, self._banks(projection.source),
                        signed)
        groups = _walked(projection, parallel.lanes).groups
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
        walked = replace(_walked(projection, lanes), pool=1 if region.pool > 1 else projection.pool)
        if region.shape[:2] == (1, 1) and projection.padding == 0:
            walked = replace(walked, weights=walked.weights.reshape(1, 1, -1, projection.out_channels), stride=1)
        codec, segments = self.weights.setdefault((projection.codec.name, lanes, channelwise), (projection.codec, []))
        row = sum(segment.rows for segment in segments) * _pitch(lanes, channelwise)
        pitch = _pitch(lanes, channelwise) if channelwise else walked.weights.shape[2]
        segments.append(Segment(layer.name, number, projection.weights.size // lanes))
        gather["passes"].append({
            "layer": k, "number": number, "projection": walked, "store": store, "region": at, "bits": bits, "signed": signed,
            "lanes": lanes, "row": row, "pitch": pitch, "gate": gate,
            "constant": projection.source == INPUT and net.input.constant})
