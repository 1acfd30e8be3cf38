"""Weight codecs: which integers a weight may be, and the packed memory word of each.

A *code* is the integer that a weight adds to the accumulator when its input spikes. A *word*
is the unsigned pattern of ``bits`` bits that memory holds for it. Decoding is sign and shift:
no codec needs a multiplier. The hardware decoders stand in ``spikeproof_hdl.codecs``, and a
test compares them with ``unpack`` word by word.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .annotations import Array

__all__ = ["AdditivePowerOfTwo", "Binary", "Codec", "PowerOfTwo", "SignedInt", "Ternary", "parse_codec"]


class Codec:
    """Base of the weight codecs.

    Members
    -------
    name : str, as in a network description ("int4", "ternary", ...)
    bits : int, bits of one packed word
    """
    if TYPE_CHECKING:
        @property
        def name(self) -> str: ...

        @property
        def bits(self) -> int: ...

    def code_of_word(self, word: int) -> int | None:
        """The code (int) that ``word`` stands for, or None for a word that is never stored."""
        raise NotImplementedError

    @property
    def codes(self) -> Array:
        """All legal codes, ascending, int64 [n]."""
        return _tables(self)[2]

    @property
    def max_code(self) -> int:
        return int(self.codes[-1])

    def contains(self, codes: Array) -> Array:
        """Whether each element of an integer array is a legal code, bool of the same shape."""
        return np.isin(codes, self.codes)

    def pack(self, codes: Array) -> Array:
        """Codes (int array, any shape) -> words (int64, same shape).

        Raises
        ------
        ValueError
            If an element is not a code of this codec.
        """
        codes = np.asarray(codes)
        legal = self.contains(codes)
        if not legal.all():
            raise ValueError(f"weights must be codes of {self.name}, not {int(codes[~legal].flat[0])}")
        word_of_code, offset = _tables(self)[1]
        return word_of_code[codes.astype(np.int64) + offset]

    def unpack(self, words: Array) -> Array:
        """Words (int array, any shape) -> codes (int64, same shape).

        Raises
        ------
        ValueError
            If an element is not a word that this codec stores.
        """
        words = np.asarray(words).astype(np.int64)
        if ((words < 0) | (words >= 1 << self.bits)).any():
            raise ValueError(f"words of {self.name} must be from 0 to {(1 << self.bits) - 1}")
        codes, stored = _tables(self)[0]
        if not stored[words].all():
            raise ValueError(f"word {int(words[~stored[words]].flat[0])} is never stored by {self.name}")
        return codes[words]


@cache
def _tables(codec: Codec) -> tuple[tuple[Array, Array], tuple[Array, int], Array]:
    by_word = [codec.code_of_word(w) for w in range(1 << codec.bits)]
    stored = np.array([c is not None for c in by_word])
    code = np.array([0 if c is None else c for c in by_word], np.int64)
    legal = np.sort(code[stored])
    offset = -int(legal[0])
    inverse = np.zeros(int(legal[-1]) + offset + 1, np.int64)
    inverse[code[stored] + offset] = np.flatnonzero(stored)
    return (code, stored), (inverse, offset), legal


@dataclass(frozen=True)
class Binary(Codec):
    """{-1, +1} in one bit: word 0 is -1, word 1 is +1."""
    bits = 1
    name = "binary"

    def code_of_word(self, word: int) -> int:
        return 1 if word else -1


@dataclass(frozen=True)
class Ternary(Codec):
    """{-1, 0, +1} in two bits, two's complement; word 2 is never stored."""
    bits = 2
    name = "ternary"

    def code_of_word(self, word: int) -> int | None:
        return (0, 1, None, -1)[word]


@dataclass(frozen=True)
class SignedInt(Codec):
    """Two's complement integer of ``bits`` bits (2 to 16), the most negative code included."""
    bits: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"int weight bits must be from 2 to 16, not {self.bits!r}")

    @property
    def name(self) -> str:
        return f"int{self.bits}"

    def code_of_word(self, word: int) -> int:
        return word - (1 << self.bits) if word >> (self.bits - 1) else word


@dataclass(frozen=True)
class PowerOfTwo(Codec):
    """Sign bit above an exponent field e: e = 0 is zero, else the code is +-2^(e-1).

    ``levels`` non-zero magnitudes are used: 1, 2, ... 2^(levels-1). ``pot<b>`` uses all that b
    bits hold, up to 16: from 6 bits on, words have room for exponents so small that the largest
    weight is worth more than 2^15 of them. The level sets of CBP are ``shift1`` (2 magnitudes) and
    ``shift2`` (3), both in 3 bits.
    """
    bits: int = 4
    levels: int = 7

    MOST_LEVELS = 16

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"pot weight bits must be from 2 to 8, not {self.bits!r}")
        most = self.all_levels(self.bits)
        if not 1 <= self.levels <= most:
            raise ValueError(f"pot levels must be from 1 to {most}, not {self.levels!r}")

    @classmethod
    def all_levels(cls, bits: int) -> int:
        """Magnitudes of ``pot<bits>``."""
        return min((1 << (bits - 1)) - 1, cls.MOST_LEVELS)

    @property
    def name(self) -> str:
        if self.bits == 3 and self.levels == 2:
            return "shift1"
        if self.bits == 3 and self.levels == 3:
            return "shift2"
        return f"pot{self.bits}"

    def code_of_word(self, word: int) -> int | None:
        exponent = word & ((1 << (self.bits - 1)) - 1)
        negative = word >> (self.bits - 1)
        if exponent == 0:
            return None if negative else 0
        if exponent > self.levels:
            return None
        return -(1 << (exponent - 1)) if negative else 1 << (exponent - 1)


@dataclass(frozen=True)
class AdditivePowerOfTwo(Codec):
    """Sums of powers of two (APoT; Li, Dong and Wang, ICLR 2020): sign bit above fields that pick one term each, or none.

    Fields of 2 bits choose among three terms, and a last field of 1 bit has one, where bits - 1 is odd. Terms go round the fields
    from the largest down; the single one comes before the last round, as the authors' code has it. No term stands in two fields, so
    a magnitude is their union: no adder is needed.
    """
    bits: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"apot weight bits must be from 2 to 8, not {self.bits!r}")

    @property
    def name(self) -> str:
        return f"apot{self.bits}"

    @property
    def fields(self) -> list[list[int]]:
        """Exponents of the terms of each field, largest first; the first field has the highest bits of the word."""
        pairs, single = divmod(self.bits - 1, 2)
        top = 3 * pairs + single - 1
        fields = [[top - k, top - pairs - k, pairs - 1 - k] for k in range(pairs)]
        return fields + [[pairs]] if single else fields

    def code_of_word(self, word: int) -> int | None:
        magnitude, below = 0, self.bits - 1
        for field in self.fields:
            width = len(field).bit_length()
            below -= width
            chosen = word >> below & ((1 << width) - 1)
            magnitude |= 1 << field[chosen - 1] if chosen else 0
        negative = word >> (self.bits - 1)
        return None if negative and not magnitude else -magnitude if negative else magnitude


def parse_codec(name: str) -> Codec:
    """The codec of a name: "binary", "ternary", "int2".."int16", "pot2".."pot8", "apot2".."apot8", "shift1", "shift2".

    Raises
    ------
    ValueError
        If the name is none of these.
    """
    fixed = {"binary": Binary(), "ternary": Ternary(),
             "shift1": PowerOfTwo(3, 2), "shift2": PowerOfTwo(3, 3)}
    if name in fixed:
        return fixed[name]
    makers: tuple[tuple[str, Callable[[int], Codec]], ...] = (
        ("int", SignedInt), ("apot", AdditivePowerOfTwo), ("pot", lambda b: PowerOfTwo(b, PowerOfTwo.all_levels(b))))
    for prefix, make in makers:
        if isinstance(name, str) and name.startswith(prefix) and name[len(prefix):].isdecimal():
            bits = int(name[len(prefix):])
            if 2 <= bits <= 16:
                return make(bits)
    raise ValueError("codec must be binary, ternary, int2 to int16, pot2 to pot8, apot2 to apot8, shift1 or "
                     f"shift2, not {name!r}")
