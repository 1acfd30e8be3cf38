"""Rounding ties, ranges and the LFSR, against arithmetic on fractions and published figures."""
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from spikeproof import fixed_point as fp


@pytest.mark.parametrize("x, floor_, half_up, half_even", [
    (5, 1, 1, 1), (6, 1, 2, 2), (7, 1, 2, 2), (2, 0, 1, 0), (10, 2, 3, 2), (-2, -1, 0, 0), (-6, -2, -1, -2), (-7, -2, -2, -2),
])
def test_ties_by_hand(x, floor_, half_up, half_even):
    """x / 4: 6 is 1.5, 2 is 0.5, -2 is -0.5, -6 is -1.5."""
    assert (fp.round_floor(x, 2), fp.round_half_up(x, 2), fp.round_half_even(x, 2)) == (floor_, half_up, half_even)


@pytest.mark.parametrize("m", range(6))
def test_roundings_equal_exact_fractions(m):
    for x in range(-200, 201):
        exact = Fraction(x, 1 << m)
        assert fp.round_floor(x, m) == floor(exact)
        assert fp.round_half_up(x, m) == floor(exact + Fraction(1, 2))
        assert fp.round_half_even(x, m) == round(exact)                 # Python rounds halves to even
    values = np.arange(-200, 201)
    for rounding in (fp.round_floor, fp.round_half_up, fp.round_half_even):
        assert rounding(values, m).tolist() == [rounding(int(x), m) for x in values]


@pytest.mark.parametrize("m", range(5))
def test_stochastic_rounding_is_unbiased_over_all_draws(m):
    for x in range(-40, 41):
        rounded = [fp.round_stochastic(x, m, draw) for draw in range(1 << m)]
        assert sum(rounded) == x                                        # mean of 2^m draws is x / 2^m


@pytest.mark.parametrize("lo, hi, bits", [(0, 0, 0), (0, 1, 1), (0, 7, 3), (0, 8, 4), (-1, 0, 1), (-1, 1, 2), (-8, 7, 4),
                                          (-9, 7, 5), (-8, 8, 5), (-32768, 32767, 16)])
def test_bits_for_range(lo, hi, bits):
    assert fp.bits_for_range(lo, hi) == bits


def test_lfsr_obeys_its_recurrence_and_draws_never_share_bits():
    assert fp.lfsr_draws(1, 1, 32) == [1] + [0] * 31                    # the seed itself comes first, bit 0 leading
    bits = fp.lfsr_draws(0x9E3779B9, 1, 4000)
    assert all(bits[n + 32] == bits[n + 22] ^ bits[n + 2] ^ bits[n + 1] ^ bits[n] for n in range(4000 - 32))
    assert 1850 < sum(bits) < 2150
    wide = fp.lfsr_draws(0x9E3779B9, 5, 800)
    assert [w >> k & 1 for w in wide for k in range(5)] == bits


def test_lfsr_polynomial_is_primitive():
    """The period divides 2^32 - 1 and none of its maximal divisors: x^32 + x^22 + x^2 + x + 1."""
    def multiply(a, b):
        product = 0
        while b:
            product ^= a if b & 1 else 0
            b, a = b >> 1, a << 1
            if a >> 32:
                a ^= (1 << 32) | (1 << 22) | 0b111
        return product

    def power(n):
        result, base = 1, 2
        while n:
            result = multiply(result, base) if n & 1 else result
            base, n = multiply(base, base), n >> 1
        return result

    period = (1 << 32) - 1
    assert period == 3 * 5 * 17 * 257 * 65537
    assert power(period) == 1
    assert all(power(period // prime) != 1 for prime in (3, 5, 17, 257, 65537))


def test_lfsr_seed_zero_is_refused():
    with pytest.raises(ValueError, match=r"^LFSR seed must be from 1 to 4294967295, not 0$"):
        fp.lfsr_draws(0, 4, 1)
