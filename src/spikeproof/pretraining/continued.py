"""Training on in full precision: the control of every method that trains after a pre-training."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from ..options import Options
from ..training_options import TrainingOptions
from .base import Pretraining

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Entry, Json, StrPath
    from ..architectures.shapes import LayerShape
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork
    from ..neurons.base import Neuron
    from ..projections import InputSpec

__all__ = ["Continued"]


class Continued(Pretraining):
    """Another pre-training ``first``, and then surrogate-gradient training for as long as a quantizer has.

    What a quantized network gains over its full-precision source may be the training alone; this is that training without the
    quantizer.
    """
    class Options(Options):
        kind: Literal["continued"]
        first: dict  # type: ignore[type-arg]
        training: TrainingOptions = TrainingOptions()

        @field_validator("first", mode="before")
        @classmethod
        def _entry(cls, value: Json) -> Entry:
            if not isinstance(value, dict):
                raise ValueError(f"must be the whole entry of another pre-training, not {value!r}")
            return value

        @field_validator("first")
        @classmethod
        def _valid(cls, value: Entry) -> Entry:
            from ..entries import parse_entry
            return parse_entry("pretraining", value, "first").model_dump()

    options: Options

    def check(self, neuron: Neuron, input_spec: InputSpec, shapes: tuple[LayerShape, ...]) -> None:
        super().check(neuron, input_spec, shapes)
        self._first().check(neuron, input_spec, shapes)

    def _first(self) -> Pretraining:
        from ..entries import make
        return make("pretraining", self.options.first)

    def train(self, model: FloatNetwork, data: PreparedData, checkpoint: StrPath | None = None,
              **kwargs: Any) -> list[dict[str, Json]]:
        """Train a FloatNetwork in place -> history of both trainings (list of dicts, one per epoch)."""
        from ..training import fit
        part = None if checkpoint is None else f"{checkpoint}.first"
        history = self._first().train(model, data, checkpoint=part, **kwargs)
        history += fit(model, data, self.options.training, checkpoint=checkpoint, **kwargs)
        if part is not None:
            Path(part).unlink(missing_ok=True)
        return [{**epoch, "epoch": n} for n, epoch in enumerate(history, 1)]
