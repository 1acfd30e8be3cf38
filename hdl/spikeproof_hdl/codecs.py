"""Hardware decoders of the weight codecs: sign and shift, no multiplier."""
from amaranth.hdl import Cat, Const, Mux, Shape, signed

from spikeproof.codecs import AdditivePowerOfTwo, Binary, PowerOfTwo, SignedInt, Ternary
from spikeproof.fixed_point import bits_for_range

__all__ = ["decode", "span"]


def span(lo, hi):
    """The narrowest Shape that holds every integer of lo .. hi (at least one bit)."""
    return Shape(max(bits_for_range(lo, hi), 1), lo < 0)


def decode(codec, word):
    """Packed word (unsigned, codec.bits wide) -> code (signed), combinational."""
    if isinstance(codec, Binary):
        return Mux(word, Const(1, signed(2)), Const(-1, signed(2)))
    if isinstance(codec, (SignedInt, Ternary)):
        return word.as_signed()
    if isinstance(codec, PowerOfTwo):
        exponent, negative = word[:-1], word[-1]
        # One-hot of the exponent is the magnitude; exponent 0 selects no bit.
        magnitude = Cat(exponent == e for e in range(1, codec.levels + 1))
        return Mux(negative, -magnitude, magnitude)
    if isinstance(codec, AdditivePowerOfTwo):
        bits, above = {}, len(word) - 1
        for field in codec.fields:
            width = len(field).bit_length()
            above -= width
            chosen = word[above:above + width]
            bits |= {exponent: chosen == k for k, exponent in enumerate(field, 1)}
        magnitude = Cat(bits[exponent] for exponent in range(len(bits)))
        return Mux(word[-1], -magnitude, magnitude)
    raise TypeError(f"codec must be a weight codec of the contract, not {codec!r}")
