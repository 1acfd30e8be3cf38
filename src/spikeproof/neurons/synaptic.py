"""Leaky integrate-and-fire with synaptic currents that decay (CUBA LIF; the neuron of TSSL-BP)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from ..projections import INPUT
from .base import Neuron, Synapse, nearest_leak

if TYPE_CHECKING:
    from ..architectures.shapes import LayerShape

__all__ = ["Synaptic"]


class Synaptic(Neuron):
    """i(t) = (1 - 1/tau_s) i(t - 1) + x / tau_s, and v(t) = (1 - 1/tau_m) v(t - 1) + i(t) (Zhang and Li, NeurIPS 2020).

    Both factors are the nearest fractions of ``bits`` bits, in training too. Currents are layers of their own, with memory for
    their state; the input drives the first layer at once, unless ``filter_input`` says otherwise.
    """
    class Options(Options):
        kind: Literal["synaptic"]
        tau_m: float = Field(5.0, gt=1, le=1000)
        tau_s: float = Field(3.0, gt=1, le=1000)
        bits: int = Field(8, ge=1, le=16)
        filter_input: bool = False
        reset: Literal["soft", "hard"] = "hard"
        readout: Literal["spike_count", "membrane", "sum"] = "spike_count"

    synapse: Synapse

    def __init__(self, options: Options) -> None:
        self.reset = options.reset
        self.read_by(options.readout)
        self.leak = nearest_leak(1 - 1 / options.tau_m, options.bits)
        self.beta = self.leak.factor
        filtered = nearest_leak(1 - 1 / options.tau_s, options.bits)
        self.synapse, self.filter_input = Synapse(filtered, filtered.factor, 1 - filtered.factor), options.filter_input

    def synapses(self, shapes: tuple[LayerShape, ...]) -> dict[str, Synapse]:
        if self._sums:                                               # a sum of filtered currents is that of the currents
            shapes = shapes[:-1]
        return {shape.name: self.synapse for shape in shapes
                if shape.emits == "spikes" and (self.filter_input or any(c.source != INPUT for c in shape.connections))}
