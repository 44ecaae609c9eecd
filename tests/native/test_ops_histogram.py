"""Counts over bins of a power-of-two width, against numpy.histogram."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.native.one_step import ISAS, Array, run_one

BINS = 2048
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def counts_of(x: Array, ends: tuple[float, float], isa: str | None = None, threads: int = 1) -> Any:
    inputs = [x, *(np.asarray(end, np.float32) for end in ends)]
    rows = run_one(
        lambda p, *ids: p.histogram(*ids), inputs, np.int64, [4, BINS], isa=isa, threads=threads
    )
    return rows.sum(axis=0)


def edges_for(x: Array) -> Any:
    """Edges of the bins, the last one included."""
    width = 2.0**-200
    while float(np.abs(x).max()) >= BINS / 2 * width:
        width *= 2
    return np.arange(-BINS // 2, BINS // 2 + 1) * width


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=60), elements=FLOATS))
@settings(max_examples=200, deadline=None)
def test_any_values(x: Array) -> None:
    x[x.size // 2 :] *= np.float32(1e-30)  # of widely different size
    got = counts_of(x, (float(x.min()), float(x.max())))
    if not x.any():
        assert got[BINS // 2] == x.size
        return
    # numpy's last bin takes its upper edge, which no value reaches.
    expected = np.histogram(x.astype(np.float64), edges_for(x))[0]
    np.testing.assert_array_equal(got, expected)


def test_threads_and_instruction_sets() -> None:
    x = np.random.default_rng(5).normal(size=(7, 30011)).astype(np.float32)
    x[x < -0.5] = 0.0
    expected = np.histogram(x.astype(np.float64), edges_for(x))[0]
    for isa in ISAS:
        for threads in (1, 2, 3):
            got = counts_of(x, (float(x.min()), float(x.max())), isa, threads)
            np.testing.assert_array_equal(got, expected)


def test_the_smallest_numbers() -> None:
    least = np.float32(1e-45)
    got = counts_of(np.array([-least, 0, least], np.float32), (float(-least), float(least)))
    # 2^-149 < 2^-148 = 1024 * width: half way to either side.
    assert (got[512], got[1024], got[1536]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("x", "ends", "bins"),
    [
        ([np.nan, 1.0], (0.0, 1.0), [0, 1536]),
        ([5.0, -5.0, np.inf, -np.inf], (0.0, 1.0), [2047, 0, 2047, 0]),
        ([5.0, np.inf], (0.0, np.inf), [1024, 0]),
        ([5.0, np.inf], (0.0, np.nan), [1024, 0]),
        ([], (np.inf, -np.inf), []),
    ],
)
def test_what_no_range_holds(x: list[float], ends: tuple[float, float], bins: list[int]) -> None:
    got = counts_of(np.array(x, np.float32), ends)
    np.testing.assert_array_equal(got, np.bincount(bins, minlength=BINS))
