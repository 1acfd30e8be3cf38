"""Rounding, saturation and the LFSR of the integer contract.

Every function here uses arithmetic operators only, so that one definition serves Python
integers, NumPy integer arrays and (for rounding) Amaranth values alike. Right shifts are
arithmetic: they round towards minus infinity.
"""
from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeVar

    import numpy as np
    from numpy.typing import NDArray

    #: Python integers, or arrays of integers.
    Number = TypeVar("Number", int, NDArray[np.integer[Any]])

__all__ = [
    "LFSR_TAPS", "LFSR_WIDTH", "ROUNDINGS", "bits_for_range", "lfsr_advance", "lfsr_draws",
    "round_floor", "round_half_even", "round_half_up", "round_stochastic", "saturate",
]


def round_floor(x: Number, m: int) -> Number:
    """x / 2^m rounded towards minus infinity (truncation of two's complement)."""
    return x >> m


def round_half_up(x: Number, m: int) -> Number:
    """x / 2^m rounded to nearest; a tie goes towards plus infinity."""
    return (x + ((1 << m) >> 1)) >> m


def round_half_even(x: Number, m: int) -> Number:
    """x / 2^m rounded to nearest; a tie goes to the even neighbour."""
    if m == 0:
        return x
    return (x + ((x >> m) & 1) + ((1 << (m - 1)) - 1)) >> m


def round_stochastic(x: Number, m: int, draw: Number | int) -> Number:
    """x / 2^m rounded up with probability frac(x / 2^m), for ``draw`` uniform in 0 .. 2^m - 1."""
    return (x + draw) >> m


#: Names of the roundings that a store may use.
ROUNDINGS = ("floor", "half_up", "half_even", "stochastic")


def saturate(x: int, lo: int, hi: int) -> int:
    """x clamped to lo .. hi, for a Python integer."""
    return lo if x < lo else hi if x > hi else x


def bits_for_range(lo: int, hi: int) -> int:
    """Bits of the narrowest word that holds every integer of lo .. hi.

    Two's complement where ``lo`` is negative, unsigned otherwise; a range of one value that
    is 0 takes 0 bits.
    """
    if lo > hi:
        raise ValueError(f"range must have lo <= hi, not {lo} .. {hi}")
    if lo < 0:
        return max((-lo - 1).bit_length(), hi.bit_length() if hi > 0 else 0) + 1
    return hi.bit_length()


LFSR_WIDTH = 32
#: a[n+32] = a[n+22] ^ a[n+2] ^ a[n+1] ^ a[n], that is x^32 + x^22 + x^2 + x + 1 (primitive).
LFSR_TAPS = (0, 1, 2, 22)


def lfsr_advance(state: int, count: int) -> int:
    """The 32-bit LFSR state after ``count`` single-bit steps.

    Bit i of the state is element n+i of the sequence; a step drops bit 0 and appends bit 31.
    """
    for _ in range(count):
        new = 0
        for tap in LFSR_TAPS:
            new ^= state >> tap
        state = (state >> 1) | ((new & 1) << (LFSR_WIDTH - 1))
    return state


def lfsr_draws(seed: int, bits: int, count: int) -> list[int]:
    """``count`` consecutive draws of ``bits`` bits each, as a list of Python integers.

    A draw is the ``bits`` lowest bits of the state; the state then advances by ``bits`` steps,
    so that no bit of the sequence is used twice.

    Raises
    ------
    ValueError
        If ``seed`` is not from 1 to 2^32 - 1 (state 0 never leaves 0).
    """
    if not 1 <= seed < 1 << LFSR_WIDTH:
        raise ValueError(f"LFSR seed must be from 1 to {(1 << LFSR_WIDTH) - 1}, not {seed!r}")
    return list(_draws(seed, bits, count))


@lru_cache(maxsize=16)
def _draws(seed: int, bits: int, count: int) -> tuple[int, ...]:
    """The same draws serve every batch of images."""
    mask, draws, state = (1 << bits) - 1, [], seed
    for _ in range(count):
        draws.append(state & mask)
        state = lfsr_advance(state, bits)
    return tuple(draws)
