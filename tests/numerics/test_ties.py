"""Ties: fractions by their definition, and sums that stay away from the middle of two codes."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from q8tool.numerics.qparams import QuantParams, from_range
from q8tool.numerics.ties import LARGEST, above, without_ties
from tests.graphs import f32


@given(st.floats(1e-6, 4.0))
def test_the_fraction_is_odd_and_little_larger(ratio: float) -> None:
    found = above(np.array([ratio]))[0]
    fraction = Fraction(float(found)).limit_denominator(4 * 10**6)
    assert float(fraction) == found
    assert fraction.denominator % 2 == 1
    assert fraction.denominator <= max(LARGEST, 1.001 / ratio)
    assert -1e-8 < found / ratio - 1 <= max(0.002, 2 * ratio) / (2 if ratio < 4e-4 else 1)


def test_fractions_stay() -> None:
    np.testing.assert_array_equal(above(np.array([1 / 513, 2 / 3, 1.0])), [1 / 513, 2 / 3, 1.0])


@given(
    st.floats(0.001, 10), st.floats(1e-4, 0.5), st.floats(0.001, 10),
    st.integers(-(2**20), 2**20), st.integers(-(2**18), 2**18),
)  # fmt: skip
def test_no_sum_comes_near_a_tie(x: float, w: float, y: float, acc: int, bias: int) -> None:
    """In exact arithmetic, and by what another order of the float32 operations gives."""
    of_x, of_y = from_range(0.0, x * 255), from_range(0.0, y * 255)
    weights = QuantParams(f32([w]), np.zeros(1, np.int32), "int8", 0)
    scale = without_ties(weights, of_x, of_y).scale
    ours = np.float32(acc + bias) * np.float32(of_x.scale * scale[0] / of_y.scale)
    if not 0 <= ours <= 255 or x * w / y < 1e-3:
        return
    product = Fraction(float(of_x.scale)) * Fraction(float(scale[0])) / Fraction(float(of_y.scale))
    exact = product * (acc + bias)
    assert abs(exact % 1 - Fraction(1, 2)) > Fraction(1, 5 * LARGEST)
    sums = np.float32(acc) * np.float32(of_x.scale * scale[0])
    other = (sums + np.float32(bias) * np.float32(of_x.scale * scale[0])) / of_y.scale
    if abs(bias) * x * w / y < 1000:
        assert np.rint(other + np.float32(7)) == np.rint(ours) + 7


def test_channels_of_zeros_and_empty_ranges() -> None:
    """Their scale is 1; nothing overflows."""
    weights = QuantParams(f32([1.0, 1e-30]), np.zeros(2, np.int32), "int8", 0)
    for x, y in [((0.0, 1e-6), (0.0, 1e6)), ((0.0, 1e6), (0.0, 1e-6)), ((0.0, 0.0), (0.0, 0.0))]:
        scale = without_ties(weights, from_range(*x), from_range(*y)).scale
        assert np.isfinite(scale).all()
        np.testing.assert_allclose(scale, weights.scale, rtol=0.002)
