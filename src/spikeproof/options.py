"""Base of everything a configuration may say: typed, frozen, unknown keys refused."""
from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Options"]


class Options(BaseModel):
    """One configuration entry. Unknown keys are errors, values do not change type silently, numbers are finite.

    What a nested entry leaves out keeps the default that the outer one states: ``training: {epochs: 5}`` changes the epochs of a
    kind's training and nothing else.
    """
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _complete_nested(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        defaults = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Options)}
        return {key: {**defaults[key].model_dump(), **value} if key in defaults and isinstance(value, dict) else value
                for key, value in values.items()}
