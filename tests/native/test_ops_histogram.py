"""Ends of tensors, and counts over bins of a power-of-two width, against numpy."""

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
    rows = np.array([[*ends, 0.0]], np.float32)
    return run_one(
        lambda p, *ids: p.histogram(*ids), [x, rows], np.int64, [BINS], isa=isa, threads=threads
    )


def ends_of(x: Array, rows: int, isa: str | None = None, threads: int = 1) -> Any:
    return run_one(
        lambda p, *ids: p.ends(*ids), [x], np.float32, [rows, 3], isa=isa, threads=threads
    )


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
    x = np.random.default_rng(5).normal(size=(7, 2311)).astype(np.float32)
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


def test_of_many_values_those_of_one_block_in_every_few_are_counted() -> None:
    """Blocks of 16; which of a few is counted goes by a multiplicative hash (Knuth, TAOCP 6.4)."""
    x = np.random.default_rng(6).normal(size=100_003).astype(np.float32)
    stride = len(x) // 16 // 1024
    groups = np.arange(len(x) // 16 // stride, dtype=np.uint64)
    mixed = (groups * np.uint64(2654435761)) % np.uint64(1 << 32)
    blocks = groups * np.uint64(stride) + (mixed >> np.uint64(16)) % np.uint64(stride)
    counted = x[: len(x) // 16 * 16].reshape(-1, 16)[blocks.astype(np.intp)]
    assert counted.size >= 16384
    expected = np.histogram(counted.astype(np.float64), edges_for(x))[0]
    for isa in ISAS:
        got = counts_of(x, (float(x.min()), float(x.max())), isa)
        np.testing.assert_array_equal(got, expected)


def test_counted_values_stand_for_all() -> None:
    """Channels of very different size, so many that every other block is of the same ones."""
    x = np.random.default_rng(7).normal(size=(3136, 32)).astype(np.float32)
    x[:, 16:] *= 8.0
    got = counts_of(x, (float(x.min()), float(x.max())))
    share = np.cumsum(got) / got.sum()
    edges = edges_for(x)[1:]
    for level in (0.01, 0.25, 0.75, 0.99):
        assert (x <= edges[np.argmax(share > level)]).mean() == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("size", [0, 1, 5, 70_001])
def test_ends(size: int, rows: int) -> None:
    x = np.random.default_rng(8).normal(size=size).astype(np.float32)
    for isa in ISAS:
        got = ends_of(x, rows, isa, threads=2)
        assert got[:, 0].min() == x.min(initial=np.inf)
        assert got[:, 1].max() == x.max(initial=-np.inf)
        assert got[:, 2].sum() == pytest.approx(x.sum(dtype=np.float64), abs=0.05)


def test_the_sum_tells_of_values_that_are_no_number() -> None:
    x = np.ones(5000, np.float32)
    x[4999] = np.nan
    got = ends_of(x, 4)
    np.testing.assert_array_equal(np.isnan(got[:, 2]), [False, False, False, True])
    np.testing.assert_array_equal(got[:, :2], np.ones((4, 2)))
