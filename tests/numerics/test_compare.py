"""Figures of how far two answers are apart, against hand-computed cases."""

import math

import numpy as np
import pytest

from q8tool.numerics.compare import (
    expected_agreement,
    max_abs_difference,
    relative_difference,
    sqnr_db,
    top1_agreement,
    top_k,
)
from tests.graphs import Array, f32, i64


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        (f32([1, -4]), f32([1, -4]), 0),
        (f32([1, -4]), f32([1, -3]), 0.25),
        (f32([0, 0]), f32([0, 0]), 0),
        (f32([np.nan, 2]), f32([np.nan, 2]), 0),
        (f32([np.inf, 2]), f32([np.inf, 1]), 0.5),
        (f32([1, 2]), f32([np.nan, 2]), math.inf),
        (f32([1, 2]), f32([np.inf, 2]), math.inf),
        (f32([1, 2]), f32([[1, 2]]), math.inf),
        (f32([1, 2]), i64([1, 2]), math.inf),
        (i64([1, 2, 3, 4]), i64([1, 2, 3, 5]), 0.25),
        (np.array([True, False]), np.array([True, True]), 0.5),
        (f32([]), f32([]), 0),
    ],
)
def test_relative_difference(expected: Array, actual: Array, difference: float) -> None:
    assert relative_difference(expected, actual) == difference


@pytest.mark.parametrize(
    ("reference", "other", "decibels"),
    [
        (f32([3, 4]), f32([3, 4]), math.inf),
        (f32([10, 0]), f32([9, 0]), 20.0),  # 100 / 1
        (f32([1, 1]), f32([0, 0]), 0.0),
        (f32([0, 0]), f32([1, 0]), -math.inf),
        (f32([0, 0]), f32([0, 0]), math.inf),
        (f32([1, 2]), f32([np.nan, 2]), -math.inf),
        (f32([1, 2]), f32([np.inf, 2]), -math.inf),
        (f32([np.inf, 2]), f32([1, 2]), -math.inf),
        (f32([np.inf, 2]), f32([-np.inf, 2]), -math.inf),
        (f32([-np.inf, 3, 4]), f32([-np.inf, 3, 4.5]), 20.0),
        (f32([np.nan, 3, 4]), f32([np.nan, 3, 4.5]), 20.0),
        (f32([np.nan, 3, 4]), f32([1, 3, 4.5]), 20.0),
    ],
)
def test_sqnr(reference: Array, other: Array, decibels: float) -> None:
    assert sqnr_db(reference, other) == pytest.approx(decibels)


def test_sqnr_sums_in_double_precision() -> None:
    # 2^24 + 1 is not a float32: squares of a million ones would stop growing.
    ones = np.ones(1 << 20, np.float32) * np.float32(100.0)
    assert sqnr_db(ones, ones * np.float32(0.9)) == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize(
    ("reference", "other", "difference"),
    [
        (f32([]), f32([]), 0.0),
        (f32([1, -4]), f32([1, -3.5]), 0.5),
        (f32([np.nan, 1]), f32([np.nan, 3]), 2.0),
        (f32([np.inf, 1]), f32([np.inf, 1]), 0.0),
        (f32([np.nan, 1]), f32([0, 1]), math.inf),
        (i64([5, 7]), i64([5, 4]), 3.0),
    ],
)
def test_max_abs_difference(reference: Array, other: Array, difference: float) -> None:
    assert max_abs_difference(reference, other) == difference


def test_top_k_takes_the_lower_index_of_ties() -> None:
    scores = f32([[0.1, 0.5, 0.5, 0.2], [4.0, 3.0, 2.0, 1.0]])
    np.testing.assert_array_equal(top_k(scores, 3), [[1, 2, 3], [0, 1, 2]])
    assert top_k(scores, 9).shape == (2, 4)


def test_top1_agreement() -> None:
    reference = f32([[1, 2, 3], [3, 2, 1], [0, 1, 0], [5, 5, 5]])
    other = f32([[0, 0, 9], [0, 0, 9], [0, 1, 0], [9, 0, 0]])
    assert top1_agreement(reference, other) == 0.75


def test_difference_of_scalars() -> None:
    assert max_abs_difference(np.asarray(3.0), np.asarray(1.5)) == 1.5
    assert max_abs_difference(np.asarray(np.inf), np.asarray(np.inf)) == 0.0


def test_expected_agreement_is_what_counting_finds_with_many_rows(rng: np.random.Generator) -> None:
    """Rows whose first two entries have margins like noise: Phi(margin / deviation) each."""
    wanted = rng.standard_normal((20000, 2)).astype(np.float32)
    noisy = wanted + rng.normal(0, 0.3, wanted.shape).astype(np.float32)
    assert expected_agreement(wanted, noisy) == pytest.approx(
        top1_agreement(wanted, noisy), abs=0.01
    )


def test_expected_agreement_of_equal_and_of_broken_answers() -> None:
    rows = f32([[1, 2, 3], [3, 2, 1]])
    assert expected_agreement(rows, rows) == 1.0
    assert expected_agreement(rows, rows * np.nan) == 0.0
    # Margins 1, differences 1: Phi(1) = 0.8413
    assert expected_agreement(f32([[1, 0]]), f32([[0, 0]])) == pytest.approx(0.8413, abs=1e-4)
