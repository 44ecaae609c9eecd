"""Observers: results that do not depend on how values arrive, and known answers."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.calibrate.observers import (
    METHODS,
    OUTLYING_VALUES,
    SEARCH_STEPS,
    SMALLEST_SHARE,
    WITH_COUNTS,
    Histogram,
    Method,
    Mse,
    Observer,
    make_observer,
    restored_observer,
)
from q8tool.numerics.histogram import BINS
from q8tool.numerics.qparams import from_range
from q8tool.numerics.rounding import dequantize, quantize
from tests.graphs import Array, f32

EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


def seen(method: Method, *parts: Array) -> Observer:
    observer = make_observer(method)
    for part in parts:
        observer.update(part)
    return observer


@st.composite
def values_and_cuts(draw: st.DrawFn) -> tuple[Array, list[Array]]:
    """Values of widely different size, and the same values cut into shuffled pieces."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    count = draw(st.integers(2, 400))
    sizes = np.exp(rng.uniform(-20, 20, count)) if draw(st.booleans()) else 1.0
    values = (rng.standard_normal(count) * sizes).astype(np.float32)
    values[rng.random(count) < 0.2] = 0.0
    shuffled = rng.permutation(values)
    cuts = sorted(draw(st.lists(st.integers(1, count - 1), max_size=5, unique=True)))
    return values, [part for part in np.split(shuffled, cuts) if part.size]


@given(values_and_cuts())
@EXAMPLES
@pytest.mark.parametrize("method", ["minmax", *sorted(WITH_COUNTS)])
def test_neither_order_nor_batches_matter(method: Method, case: tuple[Array, list[Array]]) -> None:
    values, parts = case
    assert seen(method, values).range() == seen(method, *parts).range()


@given(values_and_cuts(), st.data())
@EXAMPLES
@pytest.mark.parametrize("method", METHODS)
def test_machines_merge_into_one(
    method: Method, case: tuple[Array, list[Array]], data: st.DataObject
) -> None:
    """What several kept, sent as JSON and merged in any order, is what one would have kept."""
    _, parts = case
    machines = [make_observer(method) for _ in range(data.draw(st.integers(1, 4)))]
    for part in parts:
        data.draw(st.sampled_from(machines)).update(part)
    busy = data.draw(
        st.permutations([m for m in machines if m.to_json() != make_observer(method).to_json()])
    )
    merged = make_observer(method)
    for machine in busy:
        merged.merge(restored_observer(method, json.loads(json.dumps(machine.to_json()))))
    assert merged.to_json() == seen(method, *parts).to_json()
    assert merged.range() == seen(method, *parts).range()


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("minmax", {"low": 1}),
        ("minmax", {"low": 2, "high": 1}),
        ("minmax", {"low": "0", "high": 1}),
        ("photo-percentile", {"lows": [1], "highs": []}),
        ("photo-percentile", {"lows": [], "highs": []}),
        ("mse", {"low": 0, "high": 1, "width": 0.3, "first": 1024, "counts": [1]}),
        ("mse", {"low": 0, "high": 1, "width": 0.5, "first": 2048, "counts": [1]}),
        ("mse", {"low": 0, "high": 1, "width": 0.5, "first": -1, "counts": [1]}),
        ("mse", {"low": 0, "high": 1, "width": 0.5, "first": 1024, "counts": [-1]}),
        ("percentile", {"low": 0, "high": 1, "width": 0.5, "first": 1024, "counts": [0.5]}),
        ("percentile", {"low": 0, "high": 1, "width": float("nan"), "first": 0, "counts": []}),
    ],
)
def test_damaged_statistics_are_refused(method: Method, kept: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        restored_observer(method, kept)


@given(values_and_cuts())
@EXAMPLES
def test_percentile_leaves_out_what_it_says_and_no_more(case: tuple[Array, list[Array]]) -> None:
    """Against sorting: outside lie at most 0.005 % of the values at either end."""
    values, parts = case
    low, high = seen("percentile", *parts).range()
    assert values.min() <= low <= high <= values.max()
    assert (values < low).sum() <= OUTLYING_VALUES * values.size
    assert (values > high).sum() <= OUTLYING_VALUES * values.size


def test_percentile_ignores_a_few_values_of_many() -> None:
    rng = np.random.default_rng(3)
    ordinary = rng.uniform(-1, 1, 100_000).astype(np.float32)
    low, high = seen("percentile", ordinary, f32([900.0, -800.0])).range()
    assert -2 < low < -0.9
    assert 0.9 < high < 2


@given(values_and_cuts())
@EXAMPLES
def test_a_histogram_is_the_same_however_values_arrive(case: tuple[Array, list[Array]]) -> None:
    values, parts = case
    one, many = Histogram(), Histogram()
    one.update(values)
    for part in parts:
        many.update(part)
    assert one.width == many.width
    np.testing.assert_array_equal(one.counts, many.counts)
    assert one.counts.sum() == values.size


def test_doubling_a_histogram_is_exact() -> None:
    """What was counted with narrow bins lands where wide bins would have counted it."""
    narrow = np.linspace(-1, 0.999, 5000, dtype=np.float32)
    histogram = Histogram()
    histogram.update(narrow)
    histogram.update(f32([100.0]))
    assert histogram.width == 128 / (BINS / 2)
    expected = np.bincount(np.floor(narrow / histogram.width).astype(int) + BINS // 2)
    np.testing.assert_array_equal(histogram.counts[: expected.size], expected)
    assert histogram.counts[BINS // 2 + 800] == 1  # 100 / 0.125


def test_a_histogram_of_zeros_first() -> None:
    histogram = Histogram()
    histogram.update(np.zeros(7, np.float32))
    histogram.update(f32([-3.0]))
    assert histogram.counts[BINS // 2] == 7
    assert histogram.counts.sum() == 8


@pytest.mark.parametrize("largest", [1.0, 2.0, 1.5, 2.0**-140, 3e38, 1023.9999])
def test_the_largest_value_has_a_bin(largest: float) -> None:
    histogram = Histogram()
    histogram.update(f32([largest, -largest]))
    assert histogram.counts.sum() == 2


def test_minmax() -> None:
    assert seen("minmax", f32([1, 2]), f32([[-3], [0]])).range() == (-3.0, 2.0)
    assert seen("minmax", f32([1, 2])).range() == (1.0, 2.0)  # 0 is added later, by from_range


@pytest.mark.parametrize(
    ("count", "skipped"), [(1, 0), (9, 0), (10, 0), (11, 1), (20, 1), (50, 2), (100, 5)]
)
def test_photo_percentile_leaves_out_five_percent_of_the_photos(count: int, skipped: int) -> None:
    photos = [f32([-i, 10 * i]) for i in range(1, count + 1)]
    order = np.random.default_rng(count).permutation(count)
    low, high = seen("photo-percentile", *(photos[i] for i in order)).range()
    assert (low, high) == (-(count - skipped), 10 * (count - skipped))


def test_one_photo_of_outliers_does_not_count() -> None:
    ordinary = [f32([-1, 1])] * 20
    assert seen("photo-percentile", *ordinary, f32([-1000, 1000])).range() == (-1.0, 1.0)


def squared_error(values: Array, low: float, high: float) -> float:
    params = from_range(low, high)
    error = dequantize(quantize(values, params), params).astype(np.float64) - values
    return float(np.square(error).sum())


@pytest.mark.parametrize("name", ["normal", "relu", "laplace", "outliers", "negative"])
def test_mse_is_near_the_best_of_all_ranges(name: str) -> None:
    """Against really quantizing with every pair of ends that the search may choose from."""
    rng = np.random.default_rng(5)
    makers: dict[str, Any] = {
        "normal": lambda: rng.standard_normal(8000),
        "relu": lambda: np.maximum(rng.standard_normal(8000), 0),
        "laplace": lambda: rng.laplace(size=8000),
        "outliers": lambda: np.append(rng.standard_normal(8000) * 0.1, [4.0, -3.0]),
        "negative": lambda: -np.abs(rng.standard_normal(8000)),
    }
    values = makers[name]().astype(np.float32)
    low, high = seen("mse", values).range()
    least, most = float(values.min()), float(values.max())
    shares = np.linspace(1.0, SMALLEST_SHARE, SEARCH_STEPS)[::2]
    best = min(
        squared_error(values, least * bottom if least < 0 else least, most * top)
        for bottom, top in itertools.product(shares if least < 0 else [1.0], shares)
    )
    assert squared_error(values, low, high) <= 1.1 * best
    assert squared_error(values, low, high) <= 1.02 * squared_error(values, least, most)


def test_what_rounds_to_zero_is_an_error() -> None:
    """Most of a softmax is close to 0: a range up to its largest value would round it away."""
    rng = np.random.default_rng(8)
    values = np.append(rng.exponential(0.0004, 1_000_000), [0.3]).astype(np.float32)
    low, high = seen("mse", values).range()
    assert low == values.min()
    assert squared_error(values, low, high) < 0.8 * squared_error(values, low, 0.3)


def test_counting_clipping_more_clips_less() -> None:
    values = np.random.default_rng(9).laplace(size=50_000).astype(np.float32)
    _, plain = seen("mse", values).range()
    _, careful = seen("weighted-mse", values).range()
    assert plain < careful < values.max()
    lost = [np.square(np.maximum(values - high, 0)).sum() for high in (plain, careful)]
    assert lost[1] < lost[0] / 2


def test_few_values_are_not_all_there_are() -> None:
    """A quarter beyond the extremes, by hand; an end at or beyond 0 on the other side stays."""
    assert seen("weighted-mse", np.array([-2, 1, 4], np.float32)).range() == (-2.5, 5.0)
    assert seen("weighted-mse", np.array([1, 4], np.float32)).range() == (1.0, 5.0)
    assert seen("mse", np.array([1, 4], np.float32)).range()[1] == 4.0


@pytest.mark.parametrize("method", METHODS)
def test_constant_tensors(method: Method) -> None:
    assert seen(method, np.zeros(9, np.float32)).range() == (0.0, 0.0)
    low, high = seen(method, np.full(9, 2.5, np.float32)).range()
    assert low <= 2.5
    assert high >= 2.45


@pytest.mark.parametrize("method", ["minmax", *sorted(WITH_COUNTS)])
def test_what_is_kept_does_not_grow(method: Method) -> None:
    def kept(observer: Observer) -> int:
        found = [
            vars(observer),
            *(vars(v) for v in vars(observer).values() if hasattr(v, "__dict__")),
        ]
        arrays = [v for part in found for v in part.values() if isinstance(v, np.ndarray)]
        lists = [v for part in found for v in part.values() if isinstance(v, list)]
        return sum(array.nbytes for array in arrays) + sum(map(len, lists))

    few, many = make_observer(method), make_observer(method)
    few.update(np.ones(10, np.float32))
    for _ in range(100):
        many.update(np.ones(1000, np.float32))
    assert kept(few) == kept(many) <= 8 * BINS


def test_error_of_a_range_by_hand() -> None:
    """Steps of 1: a twelfth for each value; an end at half of the values: half of them squared."""
    observer = make_observer("mse")
    assert isinstance(observer, Mse)
    observer.update(np.full(1000, 100.0, np.float32))
    assert observer.error(0.0, 255.0) == pytest.approx(1 / 12)
    assert observer.error(0.0, 50.0) == pytest.approx(50.0**2, rel=1e-2)
    assert observer.error(*observer.range()) <= observer.error(0.0, 100.0)
