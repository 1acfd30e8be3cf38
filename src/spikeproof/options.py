"""Base of everything a configuration may say: typed, frozen, unknown keys refused."""
from pydantic import BaseModel, ConfigDict

__all__ = ["Options"]


class Options(BaseModel):
    """One configuration entry. Unknown keys are errors, values do not change type silently."""
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
