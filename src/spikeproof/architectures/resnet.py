"""Residual networks of basic blocks (He et al., 2016), as spiking networks use them."""
from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ..options import Options
from ..projections import INPUT
from .base import Architecture
from .shapes import Connection, LayerShape, map_after

if TYPE_CHECKING:
    from typing import Any, Self

    from ..projections import InputSpec

__all__ = ["ResNet"]


class ResNet(Architecture):
    """3x3 convolutions in blocks of two, each block's input added to the current of its second layer; ResNet-18 by default.

    A shortcut is the identity, or a 1x1 convolution where map or channels change. The first layer is a 3x3 convolution of stride 1
    (the form for 32x32 images); every stage but the first halves the map and doubles the channels. The last map is averaged over
    the largest square window that divides it, which is the whole of a square map, and read by a dense layer, or by ``hidden``
    neurons before that.

    ResNet-19 (Zheng et al., 2021) is ``width: 128, blocks: [3, 3, 2], hidden: 256``; ResNet-34 for ImageNet has ``blocks: [3, 4, 6,
    3], stem_kernel: 7, stem_stride: 2, stem_pool: 2`` (a maximum pool; the original's windows overlap).
    """
    class Options(Options):
        kind: Literal["resnet"]
        width: int = Field(64, ge=1, le=4096)
        blocks: list[Annotated[int, Field(ge=1, le=200)]] = Field([2, 2, 2, 2], min_length=1, max_length=6)
        stem_stride: int = Field(1, ge=1, le=4)
        stem_kernel: int = Field(3, ge=1, le=15)
        stem_pool: int = Field(1, ge=1, le=8)
        hidden: int | None = Field(None, ge=1, le=1 << 16)

        @model_validator(mode="after")
        def _has_an_odd_stem(self) -> Self:
            if self.stem_kernel % 2 == 0:
                raise ValueError(f"stem_kernel must be odd, so that padding keeps the map, not {self.stem_kernel}")
            return self

    options: Options

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        height, width, channels = input_spec.shape
        layers: list[LayerShape] = []

        def add(name: str, out: int, *connections: Connection) -> str:
            first = connections[0]
            before = next((layer.out_map for layer in layers if layer.name == first.source), (height, width))
            if any(n % first.pool for n in before):
                raise ValueError(f"stem_pool must divide the {before[0]}x{before[1]} map of the stem, not {first.pool}")
            before = before[0] // first.pool, before[1] // first.pool
            layers.append(LayerShape(name, out, map_after(before, first.kernel, first.stride, first.padding), connections))
            return name

        def pool(source: str) -> dict[str, Any]:
            return {"pool": self.options.stem_pool, "pool_kind": "max"} if source == "stem" else {}

        def conv(source: str, inside: int, out: int, kernel: int, stride: int) -> Connection:
            return Connection(source, inside, out, (kernel, kernel), stride, kernel // 2, **pool(source))

        wide = self.options.width
        source = add("stem", wide, conv(INPUT, channels, wide, self.options.stem_kernel, self.options.stem_stride))
        inside = wide
        for stage, blocks in enumerate(self.options.blocks, 1):
            out = wide << (stage - 1)
            for block in range(1, blocks + 1):
                stride = 2 if block == 1 and stage > 1 else 1
                if stride == 2 and min(layers[-1].out_map) < 2:
                    raise ValueError(f"blocks must be {stage - 1} stages at most on a {height}x{width} map, "
                                     f"not {len(self.options.blocks)}")
                name = f"s{stage}b{block}"
                first = add(f"{name}c1", out, conv(source, inside, out, 3, stride))
                shortcut = Connection(source, out, out, identity=True, **pool(source)) if stride == 1 and inside == out \
                    else conv(source, inside, out, 1, stride)
                source = add(f"{name}c2", out, conv(first, out, out, 3, 1), shortcut)
                inside = out
        rows, columns = layers[-1].out_map
        side = gcd(rows, columns)
        for name, count in (("hidden", self.options.hidden), ("head", classes)):
            if count is not None:
                layers.append(LayerShape(name, count, (1, 1), (Connection(source, inside, count, (rows // side, columns // side),
                                                                          pool=side),)))
                source, inside, rows, columns, side = name, count, 1, 1, 1
        return tuple(layers)
