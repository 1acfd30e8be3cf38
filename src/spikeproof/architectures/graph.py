"""Any network of layers, written out: what an imported model becomes."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from ..options import Options
from ..projections import INPUT
from .base import Architecture
from .shapes import Connection, LayerShape, check_classes, map_after

if TYPE_CHECKING:
    from typing import Self

    from ..projections import InputSpec

__all__ = ["Graph"]


class ConnectionOptions(Options):
    """A connection: ``source`` is ``input`` or an earlier layer. ``kernel`` and ``stride``, ``padding`` of a convolution; without a
    kernel it is dense. ``pool`` (``sum`` is an average) comes before. ``identity``: a residual addition, without weights."""
    source: str = INPUT
    kernel: list[int] | None = Field(None, min_length=2, max_length=2)
    stride: int = Field(1, ge=1, le=64)
    padding: int = Field(0, ge=0, le=64)
    pool: int = Field(1, ge=1, le=64)
    pool_kind: Literal["sum", "max"] = "sum"
    identity: bool = False

    @model_validator(mode="after")
    def _identity_has_no_kernel(self) -> Self:
        if self.identity and (self.kernel is not None or self.stride != 1 or self.padding):
            raise ValueError("an identity must have no kernel, stride or padding")
        return self


class LayerOptions(Options):
    """A layer: its name, its channels, and what drives it."""
    name: str
    channels: int = Field(ge=1, le=1 << 20)
    connections: list[ConnectionOptions] = Field([ConnectionOptions()], min_length=1)


class Graph(Architecture):
    """Layers in order, each driven by the input or by earlier layers; no batch normalisation, but biases."""
    class Options(Options):
        kind: Literal["graph"]
        layers: list[LayerOptions] = Field(min_length=1)

        @field_validator("layers")
        @classmethod
        def _in_order(cls, value: list[LayerOptions]) -> list[LayerOptions]:
            seen = [INPUT]
            for layer in value:
                for connection in layer.connections:
                    if connection.source not in seen:
                        raise ValueError(f"layer {layer.name}: source must be one of {', '.join(seen)}, not {connection.source!r}")
                if layer.name in seen:
                    raise ValueError(f"layer name {layer.name!r} must be unique, but is used twice")
                seen.append(layer.name)
            return value

    options: Options

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        height, width, channels = input_spec.shape
        maps, out = {INPUT: ((height, width), channels)}, []
        for layer in self.options.layers:
            connections, sizes = [], set()
            for given in layer.connections:
                side, channels = maps[given.source]
                if any(n % given.pool for n in side):
                    raise ValueError(f"layer {layer.name}: a pool of {given.pool} must divide the {side[0]}x{side[1]} map of "
                                     f"{given.source!r}")
                side = side[0] // given.pool, side[1] // given.pool
                if given.identity and channels != layer.channels:
                    raise ValueError(f"layer {layer.name}: an identity must have the {layer.channels} channels of the layer, not "
                                     f"{channels} as {given.source!r} has")
                rows, columns = given.kernel or side
                kernel = (1, 1) if given.identity else (rows, columns)
                sizes.add(map_after(side, kernel, given.stride, given.padding))
                connections.append(Connection(given.source, channels, layer.channels, kernel, given.stride, given.padding,
                                              given.pool, given.pool_kind, given.identity, norm=False))
            if len(sizes) > 1 or min(min(sizes)) < 1:
                raise ValueError(f"layer {layer.name}: its connections must lead to one map, not to "
                                 + " and ".join(f"{h}x{w}" for h, w in sorted(sizes)))
            if connections[0].identity:
                raise ValueError(f"layer {layer.name}: its first connection must have weights")
            maps[layer.name] = sizes.pop(), layer.channels
            out.append(LayerShape(layer.name, layer.channels, maps[layer.name][0], tuple(connections)))
        check_classes(out, classes)
        return tuple(out)
