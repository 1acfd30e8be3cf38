"""What of a network the core builds in parallel, and what it refuses to build."""
from dataclasses import dataclass, replace

from spikeproof.network import INPUT, NetworkSpec

__all__ = ["CorePlan", "LayerPlan", "Unbuildable", "walk_geometry"]

MAX_LANES = 16


class Unbuildable(ValueError):
    """The network is valid, but the core has no hardware for it."""


def _divisor(n, most):
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def walk_geometry(projection, source_shape):
    """How the core walks a projection -> (projection, source map).

    A kernel that covers the whole map is a 1x1 kernel on a 1x1 map of height * width * channels, which has the
    same weight rows in the same order and fills whole words.
    """
    if projection.kernel == tuple(source_shape[:2]) and projection.padding == 0 and projection.pool == 1:
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
    word : int, spikes of one word of the layer's input stream
    """
    lanes: int
    updaters: int
    word: int


@dataclass(frozen=True, eq=False)
class CorePlan:
    """A network and the parallelism of its core.

    Parameters
    ----------
    net : NetworkSpec
    layers : tuple of LayerPlan

    Raises
    ------
    Unbuildable
        If the network needs hardware that the core lacks, or lanes do not divide.
    """
    net: NetworkSpec
    layers: tuple

    def __post_init__(self):
        source = INPUT
        for layer, plan in zip(self.net.layers, self.layers, strict=True):
            if len(layer.projections) > 1 or layer.projections[0].source != source:
                raise Unbuildable(f"layer {layer.name}: the core builds chains, so its only source must be {source!r}")
            projection = layer.projections[0]
            if projection.groups > 1:
                raise Unbuildable(f"layer {layer.name}: groups must be 1 in the core, not {projection.groups}")
            if projection.pool > 1 and projection.pool_kind == "max":
                raise Unbuildable(f"layer {layer.name}: pool_kind must be 'sum' in the core, not 'max'")
            if plan.lanes < 1 or layer.shape[2] % plan.lanes:
                raise Unbuildable(f"layer {layer.name}: lanes must divide the {layer.shape[2]} output channels, "
                                  f"not {plan.lanes}")
            if plan.updaters < 1 or plan.lanes % plan.updaters:
                raise Unbuildable(f"layer {layer.name}: updaters must divide the {plan.lanes} lanes, not {plan.updaters}")
            source = layer.name
        if self.layers[-1].updaters != 1:
            raise Unbuildable(f"layer {self.net.layers[-1].name}: updaters must be 1 in the last layer, "
                              f"not {self.layers[-1].updaters}")

    @property
    def input_shape(self):
        """(height, width, channels) of a frame as the input stream takes it."""
        return walk_geometry(self.net.layers[0].projections[0], self.net.input.shape)[1]

    @classmethod
    def of(cls, net, lanes=None, updaters=1, word=None):
        """Plan a network.

        Parameters
        ----------
        lanes : int, the most lanes a layer may have (the largest divisor of its channels is taken),
            a sequence of one exact number per layer, or None for at most 16
        updaters : int, the most updaters a layer may have; the last layer has 1
        word : int, input codes per word of the core's input stream, or None for at most 16
        """
        channels = walk_geometry(net.layers[0].projections[0], net.input.shape)[1][2]
        width = _divisor(channels, MAX_LANES) if word is None else word
        if not 1 <= width <= channels:
            raise Unbuildable(f"word must be from 1 to {channels}, the input channels, not {width}")
        plans = []
        for k, layer in enumerate(net.layers):
            count = lanes[k] if isinstance(lanes, (list, tuple)) else _divisor(layer.shape[2], lanes or MAX_LANES)
            last = k == len(net.layers) - 1
            plans.append(LayerPlan(count, 1 if last else _divisor(count, updaters), width))
            width = count
        return cls(net, tuple(plans))
