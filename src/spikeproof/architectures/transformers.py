"""Spiking transformers: Spikformer, whose attention multiplies, and the spike-driven transformer, whose attention is gates."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ..options import Options
from .base import Architecture
from .feedforward import parse_body
from .shapes import Attention, Connection, LayerShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..projections import InputSpec

__all__ = ["SpikeTransformer", "Spikformer"]


class _Transformer(Architecture):
    """A convolutional stem, blocks of attention and a two-layer perceptron, each with a residual addition, and a dense head.

    All connections within a block are 1x1 convolutions over the map's positions, the tokens.
    """
    class Options(Options):
        stem: str = "64C3s2-128C3s2-256C3s2"
        blocks: int = Field(2, ge=1, le=32)
        ratio: int = Field(2, ge=1, le=8)

        @field_validator("stem")
        @classmethod
        def _readable(cls, value: str) -> str:
            parse_body(value, what="stem")
            return value

    options: Options

    if TYPE_CHECKING:
        def _attention(self, name: str, channels: int, side: tuple[int, int], layers: list[LayerShape], add: Callable[..., str],
                       same: Callable[[str], Connection]) -> str: ...

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        layers = list(parse_body(self.options.stem, input_spec.shape, "stem"))
        source, channels, side = layers[-1].name, layers[-1].out_channels, layers[-1].out_map
        if side[0] != side[1]:
            raise ValueError(f"stem must lead to a square map, not {side[0]}x{side[1]}")

        def add(name: str, out: int, *connections: Connection, **more: Any) -> str:
            layers.append(LayerShape(name, out, side, connections, **more))
            return name

        def mixed(source: str, inside: int, out: int) -> Connection:
            return Connection(source, inside, out)

        def same(source: str) -> Connection:
            return Connection(source, channels, channels, identity=True)
        for block in range(1, self.options.blocks + 1):
            name = f"block{block}"
            for part in ("query", "key", "value"):
                add(f"{name}_{part}", channels, mixed(source, channels, channels))
            attended = self._attention(name, channels, side, layers, add, same)
            source = add(f"{name}_projection", channels, mixed(attended, channels, channels), same(source))
            wide = add(f"{name}_hidden", self.options.ratio * channels, mixed(source, channels, self.options.ratio * channels))
            source = add(f"{name}_out", channels, mixed(wide, self.options.ratio * channels, channels), same(source))
        head = Connection(source, channels, classes, pool=side[0])
        return (*layers, LayerShape("head", classes, (1, 1), (head,)))


class SpikeTransformer(_Transformer):
    """Spike-driven self-attention (Yao et al., "Spike-driven Transformer", NeurIPS 2023): masks and additions alone.

    Where query and key both spike is counted for each channel over all positions, neurons fire on that, and channels of the value
    whose neuron fired go on. All of it is gates and sums, so it can be quantized, exported and proven. The counts have a trained
    weight per channel and batch normalisation; the original normalises differently, and sums over heads alike.
    """
    class Options(_Transformer.Options):
        kind: Literal["spike_transformer"]

    def _attention(self, name: str, channels: int, side: tuple[int, int], layers: list[LayerShape], add: Callable[..., str],
                   same: Callable[[str], Connection]) -> str:
        both = add(f"{name}_both", channels, same(f"{name}_query"), gate=f"{name}_key", stateless=True)
        counted = Connection(both, channels, channels, depthwise=True, pool=side[0])
        layers.append(LayerShape(f"{name}_mask", channels, (1, 1), (counted,)))
        return add(f"{name}_attended", channels, same(f"{name}_value"), gate=f"{name}_mask", stateless=True)


class Spikformer(_Transformer):
    """Spiking self-attention, Q K^T V without a softmax (Zhou et al., ICLR 2023), neurons on its product.

    It trains in full precision. The product of spikes with spikes is nothing that the integer contract can say, so quantizers
    refuse it by the layer's name.
    """
    class Options(_Transformer.Options):
        kind: Literal["spikformer"]
        heads: int = Field(4, ge=1, le=64)
        scale: float = Field(0.125, gt=0)

    options: Options

    def _attention(self, name: str, channels: int, side: tuple[int, int], layers: list[LayerShape], add: Callable[..., str],
                   same: Callable[[str], Connection]) -> str:
        if channels % self.options.heads:
            raise ValueError(f"heads must divide the {channels} channels of the stem, not {self.options.heads}")
        query, key, value = (f"{name}_{part}" for part in ("query", "key", "value"))
        return add(f"{name}_attention", channels, attention=Attention(query, key, value, self.options.heads, self.options.scale))
