"""Competing neurons with adaptive thresholds (Diehl and Cook, 2015), with current-based synapses."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from .base import Inhibition, Neuron, nearest_leak

if TYPE_CHECKING:
    from ..architectures.shapes import LayerShape
    from ..thresholds import Threshold

__all__ = ["DiehlCook"]


class DiehlCook(Neuron):
    """v(t) = decay v(t - 1) + current; a spike resets to 0 and takes ``inhibition`` off every membrane of its layer, a step later.

    A threshold is 1, the network's usual unit, plus what it adapted to in training; afterwards it is fixed, as in the paper. With
    ``one_spike`` at most one neuron of the layer fires in a step, the first in index order. The paper's conductances and its layer
    of inhibitory neurons are currents and a constant here, as in BindsNET's network of that name, in which each spike inhibits the
    others in the next step; here it inhibits its own neuron too. The decay is the nearest fraction of ``bits`` bits.
    """
    class Options(Options):
        kind: Literal["diehl_cook"]
        decay: float = Field(0.99, gt=0, lt=1)
        bits: int = Field(8, ge=1, le=16)
        inhibition: float = Field(8.0, ge=0, le=1e6)
        one_spike: bool = True
        readout: Literal["spike_count", "membrane", "sum"] = "sum"

    def __init__(self, options: Options) -> None:
        self.reset = "hard"
        self.read_by(options.readout)
        self.leak = nearest_leak(options.decay, options.bits, least=1)
        self.beta = self.leak.factor
        if options.inhibition or options.one_spike:
            self.lateral = Inhibition(options.inhibition, options.one_spike)

    def check(self, shapes: tuple[LayerShape, ...]) -> None:
        super().check(shapes)
        for shape in shapes:
            if shape.out_map != (1, 1):
                raise ValueError(f"layer {shape.name}: neurons of kind diehl_cook have a threshold each and compete as a layer, so "
                                 "their layers must be dense")

    def threshold(self, steps: int, channels: int) -> Threshold:
        from ..thresholds import AdaptedThresholds
        return AdaptedThresholds(channels)
