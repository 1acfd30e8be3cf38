"""What neuron models share."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..spec import Lateral, Leak

if TYPE_CHECKING:
    from ..architectures.shapes import LayerShape
    from ..leaks import TrainedLeak
    from ..thresholds import Threshold

__all__ = ["Inhibition", "Neuron", "Stateless", "Synapse", "nearest_leak"]


def nearest_leak(beta: float, bits: int, rounding: str = "half_even", least: int = 0) -> Leak:
    """The leak of the contract nearest to v * beta: a multiplier of ``bits`` bits, ``least`` or more, below 1.

    ``rounding`` is "half_even", "half_up" or "floor", which truncates.
    """
    scaled = beta * 2**bits
    code = {"floor": math.floor(scaled), "half_up": math.floor(scaled + 0.5), "half_even": round(scaled)}[rounding]
    return Leak("multiply", multiplier=min(max(code, least), 2**bits - 1), fraction=bits)


@dataclass(frozen=True)
class Synapse:
    """A current with a time constant: i(t) = beta i(t - 1) + gain x(t).

    Members
    -------
    leak : Leak, the contract's
    beta : float, the factor in full precision
    gain : float
    """
    leak: Leak
    beta: float
    gain: float


@dataclass(frozen=True)
class Inhibition:
    """Lateral inhibition in values; :class:`spikeproof.spec.Lateral` says it in codes.

    Members
    -------
    strength : float, what a spike takes off every membrane of its layer in the next step, value
    one_spike : bool, whether a layer has at most one spike a step
    """
    strength: float
    one_spike: bool

    def in_codes(self, value: float) -> Lateral:
        """Lateral of a layer whose codes are worth ``value`` (float)."""
        return Lateral(max(round(self.strength / value), 1) if self.strength else 0, self.one_spike)


class Neuron:
    """Base class: spikes at a fixed threshold of 1, with a leak that is not trained, and synapses without a time constant.

    Members that subclasses set
    ---------------------------
    reset, readout : as in :mod:`spikeproof.spec` and :mod:`spikeproof.network`
    leak : Leak, the contract's; beta : float, the membrane's factor at every step in full precision
    trained_threshold : bool, whether each layer has one threshold that is a parameter, and the value of its spikes
    unit_spikes : bool, whether a spike is worth 1
    lateral : Inhibition among the neurons of a layer that fires, or None
    """
    activation: str
    synapse: Synapse | None
    lateral: Inhibition | None
    trained_threshold: bool
    unit_spikes: bool
    reset: str
    readout: str
    leak: Leak
    beta: float
    activation, synapse, lateral, trained_threshold, unit_spikes, _sums = "spike", None, None, False, True, False

    def of(self, name: str) -> Neuron:
        """The neuron of the layer of that name: this one, where all layers have the same."""
        return self

    def read_by(self, readout: str) -> None:
        """Set ``readout``; "sum" is a membrane that keeps all its currents, whatever the other layers' leak."""
        self.readout, self._sums = "membrane" if readout == "sum" else readout, readout == "sum"

    def of_readout(self) -> Neuron:
        """The neuron of a last layer that is read by its membrane."""
        return Sum() if self._sums else self

    def check(self, shapes: tuple[LayerShape, ...]) -> None:
        """ValueError where layers (LayerShapes) cannot have these neurons; without torch, before anything runs."""
        self.synapses(shapes)
        for shape in shapes:
            if shape.stateless and not self.unit_spikes:
                raise ValueError(f"layer {shape.name}: a gate passes spikes on as they are, so they must be worth 1 each: use "
                                 "neurons of a fixed threshold")

    def synapses(self, shapes: tuple[LayerShape, ...]) -> dict[str, Synapse]:
        """dict layer name -> Synapse, of the LayerShapes whose currents have a time constant."""
        return {}

    def threshold(self, steps: int, channels: int) -> Threshold:
        """A new module of :mod:`spikeproof.thresholds` for one layer of so many channels."""
        from ..thresholds import FixedThreshold
        return FixedThreshold()

    def trained_leak(self) -> TrainedLeak | None:
        """A new module of :mod:`spikeproof.leaks` for one layer, or None."""
        return None

    if TYPE_CHECKING:
        def leak_of(self, beta: float) -> Leak:
            """Of neurons whose leak is trained: the leak of the contract nearest to v * beta."""


class Sum(Neuron):
    """A last layer without leak, which never fires: its membrane is the sum of its currents over all steps."""
    reset, readout, leak, beta = "soft", "membrane", Leak(), 1.0


class Stateless(Neuron):
    """Neurons that forget everything: a spike says that this step's drive alone reaches 1."""
    reset, readout, leak, beta = "hard", "spike_count", Leak("multiply", multiplier=0, fraction=1), 0.0
