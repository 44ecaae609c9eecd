"""Random input: seeded, and of one size wherever a dimension has one name."""

import numpy as np

from q8tool.pipelines.agreement import OpenSizes, random_feeds
from tests.graphs import model


def test_feeds_are_seeded_and_dimensions_of_one_name_agree() -> None:
    graph = model(
        "g (float[N,L] x, int64[N,L] i, bool[L] b, uint8[3] u) => (float[N,L] y) { y = Relu(x) }"
    )
    feeds = random_feeds(graph, OpenSizes(1, 5))
    assert {name: array.shape for name, array in feeds.items()} == {
        "x": (1, 1), "i": (1, 1), "b": (1,), "u": (3,),
    }  # fmt: skip
    assert set(np.unique(feeds["i"])) <= {0, 1}
    assert feeds["u"].dtype == np.uint8
    again = random_feeds(graph, OpenSizes(1, 5))
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)
