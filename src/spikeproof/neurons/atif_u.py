"""ATIF-u: integrate-and-fire with one trained threshold per layer ("Trainable quantization for Speedy SNNs")."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ..options import Options
from ..spec import Leak
from .base import Neuron

if TYPE_CHECKING:
    from typing import Self

    from ..thresholds import Threshold

__all__ = ["AtifOptions", "AtifU"]


class AtifOptions(Options):
    """What both ATIF neurons may say.

    ``first_threshold``: each layer's threshold starts uniformly between these two. ``paths``: which paths of the threshold's
    gradient count (:mod:`spikeproof.thresholds`).
    """
    readout: Literal["spike_count", "membrane"] = "membrane"
    first_threshold: list[float] = Field([0.8, 1.0], min_length=2, max_length=2)
    paths: list[Literal["amplitude", "comparison", "reset"]] = ["amplitude", "comparison", "reset"]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.first_threshold
        if not 0 < low <= high < 1e6:
            raise ValueError(f"first_threshold must be two positive numbers, the smaller one first, not {self.first_threshold}")
        return self


class AtifU(Neuron):
    """IF with soft reset, v(0) = 0, no leak; the threshold is trained and a spike has its value (the author's code; Eq. 13).

    A uniform quantizer over time: the spike count is the input in units of V / T, clipped at T.
    """
    trained_threshold, unit_spikes = True, False

    class Options(AtifOptions):
        kind: Literal["atif_u"]

    def __init__(self, options: AtifOptions) -> None:
        self.options = options
        self.reset, self.readout = "soft", options.readout
        self.leak, self.beta = Leak(), 1.0

    def threshold(self, steps: int, channels: int) -> Threshold:
        from ..thresholds import TrainedThreshold
        low, high = self.options.first_threshold
        return TrainedThreshold(low, high, self.options.paths)
