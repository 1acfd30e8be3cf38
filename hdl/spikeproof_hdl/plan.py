"""What of a network the core builds in parallel, and what it refuses to build."""
from dataclasses import dataclass, replace

import numpy as np

from spikeproof.network import INPUT, NetworkSpec

__all__ = ["CorePlan", "LayerPlan", "Unbuildable", "pools_before", "walk_geometry"]

MAX_LANES = 16


class Unbuildable(ValueError):
    """The network is valid, but the core has no hardware for it."""


def _divisor(n, most):
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def pools_before(projection):
    """Whether spikes are pooled (OR-ed) before they reach the layer's frame memory."""
    return projection.pool > 1 and projection.pool_kind == "max"


def walk_geometry(projection, source_shape, flatten=True):
    """How the core walks a projection -> (projection, source map).

    Maximum pooling is done before the frame memory, so the walk sees the pooled map. A kernel that covers the whole
    map is a 1x1 kernel on a 1x1 map of height * width * channels, which has the same weight rows in the same order and
    fills whole words; not where ``flatten`` is false (an input that comes pixel by pixel), nor where groups part the
    channels.
    """
    if pools_before(projection):
        height, width, channels = source_shape
        source_shape = (height // projection.pool, width // projection.pool, channels)
        projection = replace(projection, pool=1)
    whole = projection.kernel == tuple(source_shape[:2]) and projection.padding == 0 and projection.pool == 1
    if whole and flatten and projection.groups == 1:
        flat = projection.weights.reshape(1, 1, -1, projection.out_channels)
        return replace(projection, weights=flat, stride=1), (1, 1, flat.shape[2])
    return projection, source_shape


@dataclass(frozen=True)
class LayerPlan:
    """Parallelism of one layer.

    Parameters
    ----------
    lanes : int, neurons (output channels) that accumulate at once; divides the output channels
    updaters : int, neurons leaked, fired and stored in a cycle; divides ``lanes``
    """
    lanes: int
    updaters: int


@dataclass(frozen=True, eq=False)
class CorePlan:
    """A network and the parallelism of its core.

    Parameters
    ----------
    net : NetworkSpec
    layers : tuple of LayerPlan
    word : int, codes of one word of the input stream

    Raises
    ------
    Unbuildable
        If the network needs hardware that the core lacks, or lanes do not divide.
    """
    net: NetworkSpec
    layers: tuple
    word: int

    def __post_init__(self):
        channels = self.input_shape[2]
        if not 1 <= self.word <= channels:
            raise Unbuildable(f"word must be from 1 to {channels}, the input channels, not {self.word}")
        used = {self.net.layers[-1].name} | {p.source for layer in self.net.layers for p in layer.projections}
        for layer, plan in zip(self.net.layers, self.layers, strict=True):
            if layer.name not in used:
                raise Unbuildable(f"layer {layer.name}: its spikes must be the source of a layer, but nothing reads them")
            if sum(self.source_bits(p) > 1 for p in layer.projections) > 1:
                raise Unbuildable(f"layer {layer.name}: at most one source may be an n-bit input")
            for projection in layer.projections:
                width, word = layer.shape[2] // projection.groups, self.source_word(projection)
                if plan.lanes < 1 or width % plan.lanes:
                    what = "output channels" + (" of a group" if projection.groups > 1 else "")
                    raise Unbuildable(f"layer {layer.name}: lanes must divide the {width} {what}, not {plan.lanes}")
                channels = projection.in_channels // projection.groups
                if projection.groups > 1 and channels % word and word % channels:
                    raise Unbuildable(f"layer {layer.name}: the {channels} input channels of a group and its source's words "
                                      f"of {word} must divide one another; change the lanes of {projection.source!r}")
            if plan.updaters < 1 or plan.lanes % plan.updaters:
                raise Unbuildable(f"layer {layer.name}: updaters must divide the {plan.lanes} lanes, not {plan.updaters}")
        if self.layers[-1].updaters != 1:
            raise Unbuildable(f"layer {self.net.layers[-1].name}: updaters must be 1 in the last layer, "
                              f"not {self.layers[-1].updaters}")

    @property
    def input_shape(self):
        """(height, width, channels) of a frame as the input stream takes it."""
        height, width, channels = self.net.input.shape
        return (1, 1, height * width * channels) if _flat(self.net) else self.net.input.shape

    def walk(self, projection):
        """:func:`walk_geometry` of a projection in this core."""
        flatten = projection.source != INPUT or _flat(self.net)
        return walk_geometry(projection, self.net.source_shape(projection), flatten)

    def source_word(self, projection):
        """Codes of one word of the stream that a projection reads."""
        if projection.source == INPUT:
            return self.word
        return self.layers[[layer.name for layer in self.net.layers].index(projection.source)].lanes

    def source_bits(self, projection):
        """Bits of a code of the stream that a projection reads: 1 for spikes."""
        return self.net.input.bits if projection.source == INPUT else 1

    @classmethod
    def of(cls, net, lanes=None, updaters=1, word=None):
        """Plan a network.

        Parameters
        ----------
        lanes : int, the most lanes a layer may have (the largest divisor of its channels, or of those of a group, is
            taken), a sequence of one exact number per layer, or None for at most 16
        updaters : int, the most updaters a layer may have; the last layer has 1
        word : int, input codes per word of the core's input stream, or None for at most 16
        """
        for name, value in (("lanes", 1 if lanes is None else lanes), ("updaters", updaters)):
            if isinstance(value, int) and value < 1:
                raise Unbuildable(f"{name} must be at least 1, not {value}")
        plans = []
        for k, layer in enumerate(net.layers):
            most = min(layer.shape[2] // p.groups for p in layer.projections)
            count = lanes[k] if isinstance(lanes, (list, tuple)) else _divisor(most, lanes or MAX_LANES)
            last = k == len(net.layers) - 1
            plans.append(LayerPlan(count, 1 if last else _divisor(max(count, 1), updaters)))
        if word is None:
            readers = [p for layer in net.layers for p in layer.projections if p.source == INPUT]
            channels = int(np.prod(net.input.shape)) if _flat(net) else \
                min(p.in_channels // p.groups for p in readers)
            word = _divisor(channels, MAX_LANES)
        return cls(net, tuple(plans), word)


def _flat(net):
    """Whether every reader of the input sees it as a flat list, so that it comes as one."""
    readers = [p for layer in net.layers for p in layer.projections if p.source == INPUT]
    return all(not pools_before(p) and walk_geometry(p, net.input.shape)[1][:2] == (1, 1) for p in readers)
