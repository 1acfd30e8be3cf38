"""Parametric leaky integrate-and-fire (PLIF): the time constant of each layer is trained (Fang et al., ICCV 2021)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from .base import Neuron, nearest_leak

if TYPE_CHECKING:
    from ..leaks import TrainedLeak
    from ..spec import Leak

__all__ = ["ParametricLif"]


class ParametricLif(Neuron):
    """v(t) = v(t - 1) + (x - v(t - 1)) / tau; quantized, 1 - 1/tau is the nearest fraction of ``bits`` bits.

    ``readout: sum`` is, in the SEW networks, a linear layer of the mean spikes.
    """
    class Options(Options):
        kind: Literal["plif"]
        tau: float = Field(2.0, gt=1, le=1000)
        bits: int = Field(8, ge=1, le=16)
        reset: Literal["soft", "hard"] = "hard"
        readout: Literal["spike_count", "membrane", "sum"] = "spike_count"

    def __init__(self, options: Options) -> None:
        self.options, self.reset = options, options.reset
        self.read_by(options.readout)
        self.leak = self.leak_of(1 - 1 / options.tau)
        self.beta = self.leak.factor

    def leak_of(self, beta: float) -> Leak:
        """The leak of the contract nearest to v * beta."""
        return nearest_leak(beta, self.options.bits)

    def trained_leak(self) -> TrainedLeak:
        from ..leaks import TrainedLeak
        return TrainedLeak(self.options.tau)
