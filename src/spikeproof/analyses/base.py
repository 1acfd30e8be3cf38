"""What analyses share."""
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from ..options import Options
from ..projections import InputSpec

if TYPE_CHECKING:
    from typing import Self

    from ..annotations import Entry
    from ..architectures.shapes import LayerShape

__all__ = ["ArchitectureOf", "NetworkNames"]


class NetworkNames(Options):
    """A network in full precision by the names of its entries, as a study has it; its data and models are the analysis' inputs."""
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)


class ArchitectureOf(Options):
    """An architecture entry (plain data) on an input of ``shape`` [height, width, channels], with so many ``classes``."""
    architecture: dict[Any, Any]
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(strict=False)
    classes: int = Field(ge=1)

    @field_validator("architecture")
    @classmethod
    def _valid(cls, value: Entry) -> Entry:
        from ..entries import parse_entry
        return parse_entry("architectures", value, "architecture").model_dump()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.layers(8)
        return self

    def layers(self, bits: int) -> tuple[LayerShape, ...]:
        """tuple of LayerShape, on a constant input of so many bits."""
        from ..entries import make
        return make("architectures", self.architecture).layers(InputSpec(self.shape, bits, True), self.classes)
