"""How far two answers are apart."""

import math

import numpy as np
import pytest

from q8tool.pipelines.agreement import random_feeds, relative_difference
from tests.graphs import Array, f32, i64, model


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


def test_feeds_are_seeded_and_dimensions_of_one_name_agree() -> None:
    graph = model(
        "g (float[N,L] x, int64[N,L] i, bool[L] b, uint8[3] u) => (float[N,L] y) { y = Relu(x) }"
    )
    feeds = random_feeds(graph, open_size=5)
    assert {name: array.shape for name, array in feeds.items()} == {
        "x": (1, 1), "i": (1, 1), "b": (1,), "u": (3,),
    }  # fmt: skip
    assert set(np.unique(feeds["i"])) <= {0, 1}
    assert feeds["u"].dtype == np.uint8
    again = random_feeds(graph, open_size=5)
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)
