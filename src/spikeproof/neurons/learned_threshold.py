"""Leaky integrate-and-fire with a learned threshold per layer (LT-SNN; SpQuant-SNN, Eq. 24 to 27)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .leaky import LeakyIntegrateFire

if TYPE_CHECKING:
    from ..thresholds import Threshold

__all__ = ["LearnedThresholdLif"]


class LearnedThresholdLif(LeakyIntegrateFire):
    """LIF whose threshold is trained with the weights; a spike keeps the value 1, unlike ATIF's.

    ``gradient: separate`` is the papers' rule: the threshold learns from spikes alone, through the gradient penalty window
    sigmoid(u - V), while the membrane keeps the plain surrogate. ``plain``: the surrogate's derivative for both.
    """
    class Options(LeakyIntegrateFire.Options):
        kind: Literal["lt_lif"]  # type: ignore[assignment]
        first_threshold: float = Field(1.0, gt=0, lt=1e6)
        gradient: Literal["separate", "plain"] = "separate"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options = options

    def threshold(self, steps: int, channels: int) -> Threshold:
        from ..thresholds import LearnedThreshold
        comparison = {"separate": "window", "plain": "comparison"}[self.options.gradient]
        return LearnedThreshold(self.options.first_threshold, (comparison, "reset"))
