"""Random input: seeded, and of one size wherever a dimension has one name; lists as answers."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.errors import Q8Error
from q8tool.pipelines.agreement import OpenSizes, compare_on_random_input, random_feeds
from tests.graphs import f32, i64, model


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


def test_models_that_give_lists() -> None:
    def halves(*sizes: float) -> ir.Model:
        text = """g (float[4,6] x) => (seq(float[2,6]) y) {
            k = Mul(x, w)  y = SplitToSequence <axis = 0> (k, s) }"""
        return model(text, 13, w=f32([sizes[0]]), s=i64(sizes[1:]))

    assert compare_on_random_input(halves(2, 2, 2), halves(2, 2, 2)) == {"y": 0}
    for other in (halves(3, 2, 2), halves(2, 1, 3), halves(2, 4)):
        with pytest.raises(Q8Error, match="'y' would differ"):
            compare_on_random_input(halves(2, 2, 2), other)
