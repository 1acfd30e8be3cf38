r"""What one neuron computes in one time step, in integers. The one place that says so.

All numbers are integers. ``acc`` and ``h`` are as wide as the weights require (proved from the
codes by :mod:`spikeproof.network`), so neither can overflow.

1. **leak**       ``h = leak(v)``, one of ``v`` (none), ``v - (v >> k)`` (subtract_shift),
   ``v >> k`` (shift), ``(v * m) >> f`` (multiply). Right shifts are arithmetic: they floor.
2. **integrate**  ``h = h + acc``, where ``acc`` = bias + the sum of the codes of the weights
   whose input spiked (an n-bit input x counts as x spikes). Where the layer has a gate and the
   neuron's gate is closed in this step, ``acc`` = 0, bias included. Where neurons of the layer
   inhibit each other (:class:`Lateral`), ``inhibition`` is taken off for each spike of the layer
   in the step before, whatever the gates.
3. **fire**       ``s = h >= theta``. Equality fires. A neuron without a threshold never fires.
   Where one spike is all that a step may have, only the first neuron in index order fires; the
   others keep their ``h``.
4. **reset**      where ``s``: soft ``h - theta``, hard ``v_reset``. At once, not a step later.
5. **store**      ``c = clamp(round(h / 2^shift), lo, hi)`` is the code that memory holds, and
   ``v' = c * 2^shift`` is the membrane of the next step. The store saturates.

At the start of every image ``v = v_init * 2^shift``, where ``v_init`` is the layer's (0 unless stated) and may differ from
neuron to neuron. Stochastic rounding draws ``shift`` bits per update from the layer's LFSR
(:func:`spikeproof.fixed_point.lfsr_draws`), which starts from its seed at every image; the draws go to the neurons in index
order, one time step after the other.

Every other definition (the vectorised :mod:`spikeproof.integer`, the torch neurons, the
hardware) is tested against :meth:`NeuronSpec.step`.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import fixed_point as fp

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from .fixed_point import Number

__all__ = ["Lateral", "Leak", "NeuronSpec", "Store", "check_int"]

#: The widest integer of the contract, so that float64 matrix products are exact.
MAX_MAGNITUDE = 1 << 52
#: The largest power of two that a stored code of a membrane may count in.
MAX_SHIFT = 24


def check_int(field_name: str, value: object, lo: int, hi: int) -> None:
    """Raise ValueError unless ``value`` is a Python int from ``lo`` to ``hi``."""
    if isinstance(value, bool) or not isinstance(value, int) or not lo <= value <= hi:
        raise ValueError(f"{field_name} must be an integer from {lo} to {hi}, not {value!r}")


def check_choice(field_name: str, value: object, choices: Collection[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{field_name} must be one of {', '.join(choices)}, not {value!r}")


@dataclass(frozen=True)
class Leak:
    """Step 1. ``kind`` is "none", "subtract_shift", "shift" or "multiply".

    Parameters
    ----------
    shift : int, k of the two shift leaks, 0 to 31 (0 must be left for "none" and "multiply")
    multiplier, fraction : int, m and f of "multiply": 0 <= m < 2^f and 1 <= f <= 16, so that the
        leak never grows the membrane.
    """
    kind: str = "none"
    shift: int = 0
    multiplier: int = 0
    fraction: int = 0

    KINDS = ("none", "subtract_shift", "shift", "multiply")

    def __post_init__(self) -> None:
        check_choice("leak.kind", self.kind, self.KINDS)
        shifts = self.kind in ("subtract_shift", "shift")
        check_int("leak.shift", self.shift, 1 if shifts else 0, 31 if shifts else 0)
        multiplies = self.kind == "multiply"
        check_int("leak.fraction", self.fraction, 1 if multiplies else 0, 16 if multiplies else 0)
        check_int("leak.multiplier", self.multiplier, 0, (1 << self.fraction) - 1)

    @property
    def factor(self) -> float:
        """What v is multiplied by, but for rounding."""
        return {"subtract_shift": 1 - 2.0**-self.shift, "shift": 2.0**-self.shift,
                "multiply": self.multiplier * 2.0**-self.fraction, "none": 1.0}[self.kind]

    def __call__(self, v: Number) -> Number:
        """v -> leaked v; Python ints or integer arrays. Monotone in v."""
        if self.kind == "subtract_shift":
            return v - (v >> self.shift)
        if self.kind == "shift":
            return v >> self.shift
        if self.kind == "multiply":
            return (v * self.multiplier) >> self.fraction
        return v


@dataclass(frozen=True)
class Store:
    """Step 5: how memory keeps a membrane.

    Parameters
    ----------
    lo, hi : int, smallest and largest code stored, lo <= 0 <= hi. (-1, 1) is a ternary membrane.
    shift : int, 0 to MAX_SHIFT; a code counts in units of 2^shift.
    rounding : "floor", "half_up", "half_even" or "stochastic"
    seed : int, code, LFSR seed, 1 to 2^32 - 1; only with "stochastic", else 0.
    """
    lo: int
    hi: int
    shift: int = 0
    rounding: str = "floor"
    seed: int = 0

    def __post_init__(self) -> None:
        check_int("store.lo", self.lo, -(1 << 31), 0)
        check_int("store.hi", self.hi, 0, (1 << 31) - 1)
        if self.lo == self.hi:
            raise ValueError("store.hi must be above store.lo, not both 0")
        check_int("store.shift", self.shift, 0, MAX_SHIFT)
        check_choice("store.rounding", self.rounding, fp.ROUNDINGS)
        stochastic = self.rounding == "stochastic"
        check_int("store.seed", self.seed, 1 if stochastic else 0, (1 << 32) - 1 if stochastic else 0)

    @property
    def bits(self) -> int:
        """Bits of a stored membrane."""
        return fp.bits_for_range(self.lo, self.hi)

    def round(self, h: Number, draw: Number | int = 0) -> Number:
        """h / 2^shift by the layer's rounding; ``draw`` is used by "stochastic" alone."""
        if self.rounding == "stochastic":
            return fp.round_stochastic(h, self.shift, draw)
        return {"floor": fp.round_floor, "half_up": fp.round_half_up,
                "half_even": fp.round_half_even}[self.rounding](h, self.shift)


@dataclass(frozen=True)
class Lateral:
    """How the neurons of a layer inhibit each other: winner-take-all, soft or hard.

    Parameters
    ----------
    inhibition : int, code in membrane units, 0 to 2^31 - 1; taken off all of the layer's membranes for each of its spikes, in the
        step after
    one_spike : bool, whether at most one neuron of the layer fires in a step: the first in index order that reaches its threshold
    """
    inhibition: int = 0
    one_spike: bool = False

    def __post_init__(self) -> None:
        check_int("lateral.inhibition", self.inhibition, 0, (1 << 31) - 1)
        if not isinstance(self.one_spike, bool):
            raise ValueError(f"lateral.one_spike must be true or false, not {self.one_spike!r}")
        if not self.inhibition and not self.one_spike:
            raise ValueError("lateral must inhibit, or allow one spike only; left out, neurons do not see each other")

    def most(self, neurons: int) -> int:
        """The most that ``neurons`` of a layer can take off a membrane in a step."""
        return self.inhibition * (1 if self.one_spike else neurons)


@dataclass(frozen=True)
class NeuronSpec:
    """The five steps of a layer's neurons, but for the thresholds, which are data of the layer.

    Parameters
    ----------
    leak : Leak
    store : Store
    reset : "soft" or "hard"
    v_reset : int, code in membrane units, where a hard reset goes; 0 with "soft"
    """
    leak: Leak = field(default_factory=Leak)
    store: Store = field(default_factory=lambda: Store(-32768, 32767))
    reset: str = "soft"
    v_reset: int = 0

    RESETS = ("soft", "hard")

    def __post_init__(self) -> None:
        check_choice("reset", self.reset, self.RESETS)
        hard = self.reset == "hard"
        check_int("v_reset", self.v_reset, -(1 << 31) if hard else 0, (1 << 31) - 1 if hard else 0)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> NeuronSpec:
        """From what ``dataclasses.asdict`` gave; KeyError, TypeError or ValueError where it is not that."""
        return cls(**{**given, "leak": Leak(**given["leak"]), "store": Store(**given["store"])})

    @property
    def stateless(self) -> bool:
        """Whether the leak forgets everything (a multiplier of 0), so that no membrane need be kept."""
        return self.leak.kind == "multiply" and self.leak.multiplier == 0

    def step(self, code: int, acc: int, theta: int | None, draw: int = 0, free: bool = True) -> tuple[int, int]:
        """One time step of one neuron in Python ints; the reference for all other definitions.

        Parameters
        ----------
        code : stored membrane code of the step before (the layer's ``v_init`` at the first step)
        acc : bias + sum of weight codes, 0 where the neuron's gate is closed; less what other neurons' spikes inhibit
        theta : threshold, or None for a neuron that never fires
        draw : LFSR draw, for stochastic rounding
        free : False where one spike is all that a step may have, and a neuron of lower index has fired

        Returns
        -------
        (s, code') : spike (0 or 1) and the code now in memory
        """
        store = self.store
        v = code << store.shift
        h = self.leak(v)
        h = h + acc
        s = free and theta is not None and h >= theta
        if s:
            assert theta is not None
            h = h - theta if self.reset == "soft" else self.v_reset
        return int(s), fp.saturate(store.round(h, draw), store.lo, store.hi)

    def h_range(self, acc_lo: int, acc_hi: int) -> tuple[int, int]:
        """The range of h after integrating any acc of acc_lo .. acc_hi onto any stored membrane."""
        m = self.store.shift
        return (self.leak(self.store.lo << m) + acc_lo, self.leak(self.store.hi << m) + acc_hi)
