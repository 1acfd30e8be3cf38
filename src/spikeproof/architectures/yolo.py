"""A detector of boxes: convolutions, and a 1x1 convolution to the map of YOLO-V2 (Redmon and Farhadi, 2017)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from ..options import Options
from .base import Architecture
from .feedforward import parse_body
from .shapes import Connection, LayerShape

if TYPE_CHECKING:
    from ..detection import BoxHead
    from ..projections import InputSpec

__all__ = ["Yolo"]


class Yolo(Architecture):
    """Layers as of ``feedforward`` without the last, then for each cell of their map and each anchor a box, a score and classes.

    ``anchors``: sizes of typical boxes, [width, height] in pixels of the input. The neurons' readout must be membranes: they are
    the numbers that :mod:`spikeproof.detection` turns into boxes.
    """
    class Options(Options):
        kind: Literal["yolo"]
        layers: str = "16C3-MP2-32C3-MP2-64C3-64C3"
        anchors: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = Field([[8.0, 8.0], [12.0, 12.0]], min_length=1,
                                                                                         max_length=16)

        @field_validator("layers")
        @classmethod
        def _readable(cls, value: str) -> str:
            parse_body(value)
            return value

        @field_validator("anchors", mode="before")
        @classmethod
        def _pairs(cls, value: object) -> object:
            if not (isinstance(value, list) and all(isinstance(of, (list, tuple)) and len(of) == 2 for of in value)):
                raise ValueError(f"must be a list of sizes [width, height], like [[8, 8], [12, 12]], not {value!r}")
            return value

        @field_validator("anchors")
        @classmethod
        def _positive(cls, value: list[list[float]]) -> list[list[float]]:
            if min(min(of) for of in value) <= 0:
                raise ValueError(f"must be sizes above 0, not {value}")
            return value

    options: Options
    boxes = True

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        layers = parse_body(self.options.layers, input_spec.shape)
        if layers[-1].out_map == (1, 1):
            raise ValueError("layers must lead to a map of more than one cell")
        last, out = layers[-1], len(self.options.anchors) * (5 + classes)
        return (*layers, LayerShape("cells", out, last.out_map, (Connection(last.name, last.out_channels, out),)))

    def head(self, input_spec: InputSpec, classes: int) -> BoxHead:
        from ..detection import BoxHead
        return BoxHead(self.options.anchors, classes, input_spec.shape[:2], self.layers(input_spec, classes)[-1].out_map)
