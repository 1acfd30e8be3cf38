"""What every weight quantizer shares: membrane options, training options, the scale.

value = code * scale. A quantizer picks the scale of a layer's weights and rounds value / scale to a
legal code, with a straight-through gradient (the rounding counts as the identity).
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from ..fixed_point import ROUNDINGS
from ..neurons.base import nearest_leak
from ..options import Options
from ..training_options import ExactTrainingOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    import torch

    from ..architectures.shapes import LayerShape
    from ..codecs import Codec
    from ..neurons.base import Neuron
    from ..spec import Leak
    from ..training import Method
    from .integer import IntQuantizer

__all__ = ["MembraneOptions", "ParameterOptions", "Quantizer", "QuantizerOptions", "nearest", "round_ste", "rounded",
           "straight_through"]


class MembraneOptions(Options):
    """How memory keeps membranes: two's complement of ``bits`` (16), or the few codes lo .. hi of ``levels``.

    ``levels``: [-1, 1] is a ternary membrane (SpQuant-SNN, Eq. 7), [0, 1] a binary one, whose state -1 is silenced (Eq. 19, 20).
    ``unit``: what a code of ``levels`` stands for, the power of two of the layer's unit nearest to the threshold, or to half of it.
    ``gradient``: what passes the store backwards: all inside its range (``clip``), or, of ``levels``, SpQuant-SNN's stacked
    gradient (Eq. 13), a sigmoid's derivative around each step, of slope ``temperature`` in codes.
    """
    bits: int | None = Field(None, ge=2, le=24)
    levels: tuple[int, int] | None = Field(None, strict=False)
    unit: Literal["half_threshold", "threshold"] = "half_threshold"
    gradient: Literal["clip", "stacked"] = "clip"
    temperature: float = Field(2.0, gt=0)
    rounding: Literal[ROUNDINGS] = "half_up"  # type: ignore[valid-type]
    output_bits: int = Field(16, ge=2, le=24)
    current_bits: int | None = Field(None, ge=2, le=24)

    @field_validator("levels", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if value is not None and not (isinstance(value, (list, tuple)) and len(value) == 2):
            raise ValueError(f"must be the lowest and the highest code [lo, hi], like [-1, 1], not {value!r}")
        return value

    @model_validator(mode="after")
    def _bits_or_levels(self) -> Self:
        if self.gradient != "stacked" and self.temperature != 2:
            raise ValueError("temperature must be left out where gradient is clip: it is the slope of the stacked gradient")
        if self.levels is None:
            if self.gradient == "stacked":
                raise ValueError("gradient must be clip where no levels are given: stacked has a step for each")
            if self.unit != "half_threshold":
                raise ValueError("unit must be left out where no levels are given: it says what one of them stands for")
            return self
        lo, hi = self.levels
        if not -16 <= lo <= 0 <= hi <= 15 or lo == hi:
            raise ValueError(f"levels must be two integers lo <= 0 <= hi from -16 to 15, not both 0, not {list(self.levels)}")
        if self.bits is not None:
            raise ValueError("bits must be left out where levels are given")
        return self

    @property
    def codes(self) -> tuple[int, int]:
        """(lo, hi) of the codes that are stored."""
        bits = self.bits or 16
        return self.levels or (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def shift(self, median: float, reach: float) -> int:
        """A stored code counts in units of 2 to the power of this; of the layer's threshold codes, the median and the most that
        membranes must reach."""
        if self.levels:
            return max(0, round(math.log2(median / (1 if self.unit == "threshold" else 2))))
        return max(0, math.ceil(math.log2(reach / self.codes[1])))

    @property
    def slope(self) -> float | None:
        """Temperature of the stacked gradient, or None."""
        return self.temperature if self.gradient == "stacked" else None


class ParameterOptions(Options):
    """A parameter of neurons in so many bits; ``floor`` is truncation, ``half_up`` to the nearest."""
    bits: int = Field(8, ge=1, le=16)
    rounding: Literal[ROUNDINGS] = "half_up"  # type: ignore[valid-type]


class LeakOptions(ParameterOptions):
    """The one factor of a layer: nothing to be drawn."""
    rounding: Literal["floor", "half_up", "half_even"] = "half_up"


class QuantizerOptions(Options):
    """What all quantizers may say.

    ``scale``: one scale (and threshold) per output channel, or one per layer. ``membrane.output_bits``
    is the width of the last layer's membrane where it is the readout, ``membrane.current_bits`` that of currents of synapses with a
    time constant (by default the same). ``shortcut_bits`` is the width of the convolutions on the
    shortcuts of a residual network, which share their layer's unit; by default what holds four times the largest weight code.
    ``edge_bits`` makes the first and the last layer integers of so many bits, as many methods leave them finer; 16 stands for full
    precision. ``power_of_two_scale`` rounds scales to the nearest power of two (SpQuant-SNN's alpha): behind spikes, a threshold of
    1 is then a power of two in codes. ``thresholds`` (Q-SpiNN): codes of so many bits, times the least power of two that lets the
    largest fit, layer by layer; by default thresholds are as exact as sums. ``leak``: the factor of membranes and currents as a
    fraction of so many bits; by default the neuron's own.
    """
    if TYPE_CHECKING:
        kind: str
    scale: Literal["channel", "layer"] = "channel"
    power_of_two_scale: bool = False
    shortcut_bits: int | None = Field(None, ge=2, le=16)
    edge_bits: int | None = Field(None, ge=2, le=16)
    membrane: MembraneOptions = MembraneOptions()
    thresholds: ParameterOptions | None = None
    leak: LeakOptions | None = None
    training: ExactTrainingOptions = ExactTrainingOptions(epochs=15, learning_rate=1e-3)


def nearest(x: torch.Tensor, levels: Sequence[int]) -> torch.Tensor:
    """The nearest of ascending ``levels`` (ints) to each element of x; in a middle the upper one."""
    import torch
    values = x.new_tensor(levels)
    return values[torch.bucketize(x.detach(), (values[1:] + values[:-1]) / 2, right=True)]


def straight_through(x: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """``quantized`` in the forward pass, the gradient of x in the backward pass."""
    return x + (quantized - x).detach()


def round_ste(x: torch.Tensor) -> torch.Tensor:
    """x rounded to the nearest integer (half to even), straight-through gradient."""
    return straight_through(x, x.round())


def rounded(x: torch.Tensor, rounding: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """x rounded to integers by one of the contract's roundings.

    Stochastic draws are those of ``generator``, or, without one, the same ones in every call for a shape.
    """
    import torch
    if rounding == "stochastic":
        fresh = generator or torch.Generator().manual_seed(0x9E3779B9)
        return (x + torch.rand(x.shape, generator=fresh, dtype=torch.float32).to(x)).floor()
    return {"floor": x.floor, "half_up": (x + 0.5).floor, "half_even": x.round}[rounding]()


class Quantizer:
    """Base class. Tensors only through their methods, so that this imports without torch.

    Subclasses give ``codec``, :meth:`scale` and :meth:`codes`. The scale follows the weights; or, where ``keeps_scale`` says so, it
    stays what it was before training; or it is ``learned``, by :meth:`learned_scale`.
    """
    codec: Codec
    learned = keeps_scale = False

    def __init__(self, options: QuantizerOptions) -> None:
        self.options = options

    def of_layer(self, k: int, count: int) -> Quantizer:
        """The quantizer of layer k of ``count``: this one, or that of the first and the last layer."""
        if self.options.edge_bits is None or k not in (0, count - 1):
            return self
        return self.as_integers(self.options.edge_bits)

    def as_integers(self, bits: int) -> IntQuantizer:
        """Integers of so many bits, all else as here."""
        from .integer import IntQuantizer
        shared = {name: getattr(self.options, name) for name in QuantizerOptions.model_fields if name != "edge_bits"}
        return IntQuantizer(IntQuantizer.Options(kind="int", bits=bits, **shared))

    def check(self, shapes: tuple[LayerShape, ...], neuron: Neuron) -> None:
        """ValueError where such layers of such neurons cannot be quantized so; without torch, before anything runs.

        Parameters
        ----------
        shapes : tuple of LayerShape
        neuron : Neuron
        """
        for shape in shapes:
            if shape.attention is not None:
                raise ValueError(f"layer {shape.name}: attention multiplies spikes by spikes, which the integer contract cannot "
                                 "say; attention by gates can be said (architecture spike_transformer)")
            if shape.emits == "sums" and not neuron.unit_spikes:
                raise ValueError(f"layer {shape.name}: spikes that are summed must be worth 1 each: use neurons of a fixed "
                                 "threshold")

    def method(self) -> Method | None:
        """What is added to the training loop: a :class:`spikeproof.training.Method`, or None."""
        return None

    def thresholds(self, theta: torch.Tensor) -> torch.Tensor:
        """Thresholds in codes (any shape, real numbers) -> those that are compared with, at least 1; straight-through gradient."""
        options = self.options.thresholds
        if options is None:
            return round_ste(theta).clamp(min=1)
        most, unit = (1 << options.bits) - 1, 1 << self.theta_shift(theta)
        codes = rounded(theta.detach() / unit, options.rounding).clamp(1, most) * unit
        return straight_through(theta, codes)

    def theta_shift(self, theta: torch.Tensor) -> int:
        """The unit of a layer's thresholds is 2 to the power of this; the same for thresholds and for what they are rounded to."""
        if self.options.thresholds is None:
            return 0
        return max(0, int(theta.detach().max()).bit_length() - self.options.thresholds.bits)

    def leak(self, leak: Leak) -> Leak:
        """A Leak of the contract -> that of ``leak`` in so many bits; what forgets nothing or everything stays."""
        options = self.options.leak
        if options is None or leak.factor in (0, 1):
            return leak
        return nearest_leak(leak.factor, options.bits, options.rounding, least=1)

    @property
    def shortcut_bits(self) -> int:
        """Bits of the integers on residual shortcuts: at least 4 times the largest weight code, and 15."""
        largest = max(4 * int(abs(self.codec.codes).max()), 15)
        return self.options.shortcut_bits or min(largest.bit_length() + 1, 16)

    def scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        """weight [C_out, C_in, kh, kw] -> value of one code, [C_out, 1, 1, 1] or [1, 1, 1, 1], > 0."""
        scale = self.fitted_scale(weight, per_channel)
        return scale.log2().round().exp2() if self.options.power_of_two_scale else scale

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        """As :meth:`scale`, any real number."""
        raise NotImplementedError

    def learned_scale(self, step: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Trained scale -> value of one code, same shape, > 0; the gradient is that of the method.

        Parameters
        ----------
        step : [C_out, 1, 1, 1] or [1, 1, 1, 1], value, as it is trained
        weight : [C_out, C_in, kh, kw], value
        """
        raise NotImplementedError

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """x = weight / scale, any shape -> codes as floats, straight-through gradient."""
        raise NotImplementedError

    @staticmethod
    def _reduce(weight: torch.Tensor, per_channel: bool, how: str) -> torch.Tensor:
        """``how`` ("mean" or "amax") over all axes but channels, or over all axes; kept as 4 axes."""
        axes = (1, 2, 3) if per_channel else (0, 1, 2, 3)
        return getattr(weight, how)(dim=axes, keepdim=True).clamp(min=1e-8)
