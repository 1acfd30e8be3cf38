"""Leaky integrate-and-fire neurons whose constants are stated layer by layer: what an imported model has."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from ..spec import Leak
from .base import Neuron, Synapse, nearest_leak

if TYPE_CHECKING:
    from ..architectures.shapes import LayerShape
    from ..thresholds import Threshold

__all__ = ["PerLayer"]


class SynapseOptions(Options):
    """A synaptic current i(t) = decay i(t - 1) + x(t)."""
    decay: float = Field(gt=0, lt=1)


class ConstantsOptions(Options):
    """v(t) = decay v(t - 1) + x(t); ``decay: 1`` never forgets. Spikes at ``threshold``."""
    decay: float = Field(1.0, ge=0, le=1)
    threshold: float = Field(1.0, gt=0)
    synapse: SynapseOptions | None = None


class PerLayer(Neuron):
    """The constants of each layer by its name; in codes, factors are the nearest fractions of ``bits`` bits.

    ``fires`` says what equality does: ``>=`` spikes, ``>`` does not. In integers h > x is h >= floor(x) + 1, and of floating-point
    numbers it is h >= the next one above x: both are exact.
    """
    class Options(Options):
        kind: Literal["per_layer"]
        layers: dict[str, ConstantsOptions] = Field(min_length=1)
        fires: Literal[">=", ">"] = ">="
        bits: int = Field(8, ge=1, le=16)
        reset: Literal["soft", "hard"] = "soft"
        readout: Literal["spike_count", "membrane"] = "spike_count"

    def __init__(self, options: Options) -> None:
        self.options, self.reset, self.readout = options, options.reset, options.readout

    def of(self, name: str) -> _Constants:
        """The neuron of one layer, or of the currents that drive it.

        Raises
        ------
        ValueError
            If nothing is said about the layer.
        """
        if name not in self.options.layers:
            raise ValueError(f"neuron: layers must say the constants of layer {name!r} too")
        return _Constants(self.options, self.options.layers[name])

    def synapses(self, shapes: tuple[LayerShape, ...]) -> dict[str, Synapse]:
        found = {}
        for shape in shapes:
            constants = self.of(shape.name).constants
            if constants.synapse is not None:
                found[shape.name] = Synapse(nearest_leak(constants.synapse.decay, self.options.bits), constants.synapse.decay, 1.0)
        return found


class _Constants(Neuron):
    def __init__(self, options: PerLayer.Options, constants: ConstantsOptions) -> None:
        self.strict, self.constants = options.fires == ">", constants
        self.reset, self.readout, self.beta = options.reset, options.readout, constants.decay
        self.leak = Leak() if constants.decay == 1 else nearest_leak(constants.decay, options.bits)

    def threshold(self, steps: int, channels: int) -> Threshold:
        from ..thresholds import FixedThreshold
        return FixedThreshold(self.constants.threshold, self.strict)
