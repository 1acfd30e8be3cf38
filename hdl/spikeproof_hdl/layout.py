"""How the parts of a core are laid out: regions of frames, passes, gathers, weights, engines."""
from dataclasses import dataclass, replace

import numpy as np

from spikeproof.projections import INPUT

__all__ = ["FETCH", "FETCH_WORDS", "MAX_LANES", "QUEUE", "SCAN", "EnginePlan", "GatherPlan", "LayerPlan", "Pass", "Region",
           "Segment", "Store", "Target", "Unbuildable", "Weights", "divisor", "flat_input", "is_channelwise", "is_flat",
           "most_lanes", "pitch_of", "synapses", "walked_as", "width_of"]

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
        return pitch_of(self.lanes, self.channelwise)


def is_channelwise(projection):
    """Whether each output channel has one input channel of its own: a depthwise convolution, or the identity of a residual add."""
    return projection.groups == projection.in_channels == projection.out_channels > 1


def pitch_of(lanes, channelwise):
    return 1 << (lanes - 1).bit_length() if channelwise else 1


def walked_as(projection, lanes):
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


def width_of(projection):
    """Output channels that may accumulate at once: those of a group, and all of a channel-wise projection."""
    return projection.out_channels if is_channelwise(projection) else projection.out_channels // projection.groups


def most_lanes(layer):
    """The most lanes that a layer can have; every divisor of it is possible too."""
    return min(width_of(p) for p in layer.projections)


def synapses(layer):
    """Synapses of a layer: the synaptic operations of a time step in which every input spikes."""
    height, width, _ = layer.shape
    return sum(height * width * p.weights.size * p.pooled for p in layer.projections)


def is_flat(projection, shape):
    """Whether a kernel covers the whole map, so that it is a 1x1 kernel on a 1x1 map with the same weight rows."""
    return projection.kernel == tuple(shape[:2]) and projection.padding == 0 and projection.groups == 1 \
        and (projection.pool == 1 or projection.pool_kind == "max")


def flat_input(net):
    """Whether every reader of the input sees it as a flat list, so that it comes as one."""
    readers = [p for layer in net.layers for p in layer.projections if p.source == INPUT]
    return all(p.pool == 1 and is_flat(p, net.input.shape) for p in readers)
