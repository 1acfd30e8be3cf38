"""What an architecture is made of: layers of neurons, and the connections that drive them."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..neurons.base import Synapse

__all__ = ["Attention", "Connection", "LayerShape", "channel_groups", "check_classes", "map_after", "pruned_shapes",
           "with_currents"]


@dataclass(frozen=True)
class Connection:
    """What one source map drives into a layer: pooling, then a convolution, or nothing but an addition.

    Members
    -------
    source : name of an earlier layer, or "input"
    in_channels, out_channels : int
    kernel : (height, width); the whole (pooled) map in a dense layer
    stride, padding : int
    pool : int, side of the window pooled before the convolution
    pool_kind : "sum" (averages, in values) or "max"
    identity : bool, an addition: each neuron of the (pooled) source drives the one at its place, with weight 1 (in values); a
        source of one channel drives those of all channels there
    norm : bool, batch normalisation in full precision; a bias where there is none
    reads : "spikes", or "membranes": the stored codes of a layer of neurons, as the numbers that they are
    depthwise : bool, a kernel for each channel, and nothing between channels
    """
    source: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = 0
    pool: int = 1
    pool_kind: str = "sum"
    identity: bool = False
    norm: bool = True
    reads: str = "spikes"
    depthwise: bool = False

    @property
    def fan_in(self) -> int:
        """How many channels drive one neuron."""
        return 1 if self.identity or self.depthwise else self.in_channels

    @property
    def pooled(self) -> int:
        """How many entries of the source its pool adds up."""
        return self.pool**2 if self.pool_kind == "sum" else 1

    @property
    def weights(self) -> int:
        """Weights in memory: an identity has one per channel."""
        return self.out_channels * self.fan_in * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Attention:
    """Softmax-free self-attention of spikes, Q K^T V times a scale (Spikformer: Zhou et al., ICLR 2023). Positions are tokens.

    Members
    -------
    query, key, value : names of layers of as many channels, on one map
    heads : int, that divides the channels
    scale : float
    """
    query: str
    key: str
    value: str
    heads: int
    scale: float


@dataclass(frozen=True)
class LayerShape:
    """A layer of neurons.

    Members
    -------
    name : str
    out_channels : int
    out_map : (height, width)
    connections : tuple of Connection; their currents add up. The first one's weights set the unit of the layer's codes.
    emits : what further layers read: "spikes"; or of layers without thresholds "sums", step by step, of spikes (the ADD of SEW
        blocks) or of stored codes over a window (all connections are identities), or "currents", leaky sums over time (synapses
        with a time constant)
    synapse : a Synapse of :mod:`spikeproof.neurons.base`, of a layer that emits currents
    gate : name of an earlier layer whose spikes say, step by step, which neurons are driven at all, or None. Its map divides this
        one's, and it has one channel or as many.
    stateless : bool, neurons without memory, as of gates: each step's drive alone decides
    weight_bits : int, integers of so many bits in place of the quantizer's codes, or None
    attention : Attention that drives the layer in place of connections, or None
    """
    name: str
    out_channels: int
    out_map: tuple[int, int]
    connections: tuple[Connection, ...]
    emits: str = "spikes"
    synapse: Synapse | None = None
    gate: str | None = None
    stateless: bool = False
    weight_bits: int | None = None
    attention: Attention | None = None

    @property
    def weighted(self) -> bool:
        """Whether its first connection has weights."""
        return bool(self.connections) and not self.connections[0].identity

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of what it looks at."""
        attended = () if self.attention is None else (self.attention.query, self.attention.key, self.attention.value)
        return *(connection.source for connection in self.connections), *attended, *([] if self.gate is None else [self.gate])

    @property
    def weights(self) -> int:
        return sum(connection.weights for connection in self.connections)

    @property
    def neurons(self) -> int:
        return self.out_channels * self.out_map[0] * self.out_map[1]


def map_after(source_map: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int) -> tuple[int, int]:
    """(height, width) after a convolution."""
    height, width = ((n + 2 * padding - k) // stride + 1 for n, k in zip(source_map, kernel))
    return height, width


def check_classes(shapes: Sequence[LayerShape], classes: int) -> None:
    """ValueError unless the last layer has as many neurons as there are classes."""
    if shapes[-1].neurons != classes:
        raise ValueError(f"layers must end in {classes}, the number of classes, not {shapes[-1].neurons}")


def with_currents(shapes: Sequence[LayerShape], synapses: Mapping[str, Synapse]) -> tuple[LayerShape, ...]:
    """LayerShapes whose synapses have a time constant: the weights drive layers of currents, and those the neurons.

    A filter of a sum is the sum of the filtered, so it does not matter on which side of the weights a synapse filters; behind
    them, spikes stay single bits.

    Parameters
    ----------
    synapses : dict layer name -> Synapse; other layers stay as they are
    """
    out = []
    for k, shape in enumerate(shapes):
        if shape.name not in synapses:
            out.append(shape)
            continue
        name = f"{shape.name}_current"
        # The last layer is not normalised, nor are its currents.
        connections = tuple(replace(c, norm=c.norm and k < len(shapes) - 1) for c in shape.connections)
        out += [replace(shape, name=name, connections=connections, emits="currents", synapse=synapses[shape.name],
                        gate=None),
                replace(shape, connections=(Connection(name, shape.out_channels, shape.out_channels, identity=True),))]
    return tuple(out)


def channel_groups(shapes: Sequence[LayerShape]) -> list[list[str]]:
    """Hidden layers whose channels can only be pruned together, since identities, depthwise convolutions or gates join them: list
    of lists of names."""
    group, wide = {shape.name: {shape.name} for shape in shapes[:-1]}, {shape.name: shape.out_channels for shape in shapes}
    for shape in shapes[:-1]:
        joined = [connection.source for connection in shape.connections if connection.identity or connection.depthwise]
        for other in (*joined, shape.gate):
            if other in group and wide[other] == shape.out_channels:
                merged = group[shape.name] | group[other]
                group.update(dict.fromkeys(merged, merged))
    found = []
    for shape in shapes[:-1]:
        names = [other.name for other in shapes[:-1] if other.name in group[shape.name]]
        if names not in found:
            found.append(names)
    return found


def pruned_shapes(shapes: Sequence[LayerShape], channels: Mapping[str, int]) -> tuple[LayerShape, ...]:
    """LayerShapes with other numbers of channels.

    Parameters
    ----------
    channels : dict layer name -> number of channels that are left; a layer that is not in it keeps all
    """
    def connected(connection: Connection, out: int) -> Connection:
        return replace(connection, in_channels=channels.get(connection.source, connection.in_channels), out_channels=out)
    out = []
    for shape in shapes:
        left = channels.get(shape.name, shape.out_channels)
        out.append(replace(shape, out_channels=left, connections=tuple(connected(c, left) for c in shape.connections)))
    return tuple(out)
