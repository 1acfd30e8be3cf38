"""ATIF-nu: integrate-and-fire with a trained threshold per time step ("Trainable quantization for Speedy SNNs")."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .atif_u import AtifOptions, AtifU

if TYPE_CHECKING:
    from ..thresholds import Threshold

__all__ = ["AtifNu"]


class AtifNu(AtifU):
    """IF with soft reset whose thresholds follow from trained levels p_1 > ... > p_T: a non-uniform quantizer over time.

    The levels become thresholds by the general rule of :func:`spikeproof.thresholds.thresholds_of_levels` (the paper's Eq. 14 to 19
    are special cases of it, and Eq. 19 as printed does not hold for a uniform quantizer: docs/atif.md). A spike has the value p_1
    at every step, so that it folds into the next layer's scale.
    """
    trained_threshold = False                                        # but one per step

    class Options(AtifOptions):
        kind: Literal["atif_nu"]

    def threshold(self, steps: int, channels: int) -> Threshold:
        from ..thresholds import LevelThresholds
        low, high = self.options.first_threshold
        return LevelThresholds(steps, low, high, self.options.paths)
