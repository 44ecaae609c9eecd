"""fold_shapes: sizes that are known although others are not."""

import pytest

from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.fold_constants import fold_constants
from q8tool.passes.fold_shapes import fold_shapes
from tests.graphs import Array, assert_same, i64, model, ops, random, weight

INDICES = {"zero": i64([0]), "one": i64([1]), "rest": i64([-1])}


def test_the_batch_of_a_flatten_as_exporters_write_it() -> None:
    text = """g (float[N,3,4,4] x) => (float[N,48] y) {
        s = Shape(x)  n = Gather(s, zero)  t = Concat<axis=0>(n, rest)  y = Reshape(x, t) }"""
    before = model(text, **INDICES)
    after = before.clone()
    assert [c.what for c in fold_shapes(after)] == ["target is now [0, -1]"]
    clean_graph(after)
    assert ops(after) == ["Reshape"]
    for batch in (1, 5):
        assert_same(before, after, x=random(batch, 3, 4, 4))
    assert fold_shapes(after) == []


def test_a_known_dimension_of_a_partly_known_shape() -> None:
    text = """g (float[N,3,H,4] x) => (float[N,3,H,4] y) {
        s = Shape(x)  c = Gather(s, one)  f = Cast<to=1>(c)  y = Mul(x, f) }"""
    before = model(text, **INDICES)
    after = before.clone()
    fold_shapes(after)
    fold_constants(after)
    clean_graph(after)
    assert ops(after) == ["Mul"]
    assert weight(after, "f").tolist() == [3]
    assert_same(before, after, x=random(2, 3, 5, 4))


def test_products_and_slices() -> None:
    # (N, 6, 4, 5) -> (N, 6, 20): the last size is a product of two slices of the shape.
    text = """g (float[N,6,4,5] x) => (float[N,6,20] y) {
        s = Shape(x)  head = Slice(s, zero, two)
        h = Gather(s, two)  w = Gather(s, three)  p = Mul(h, w)
        t = Concat<axis=0>(head, p)  y = Reshape(x, t) }"""
    before = model(text, two=i64([2]), three=i64([3]), zero=i64([0]))
    after = before.clone()
    assert "target is now [0, 6, 20]" in [change.what for change in fold_shapes(after)]
    clean_graph(after)
    assert ops(after) == ["Reshape"]
    assert_same(before, after, x=random(3, 6, 4, 5))


def test_one_nameless_size_becomes_what_is_left() -> None:
    # N * 2 has no name: -1. Channel shuffle and attention heads look like this.
    text = """g (float[N,6] x) => (float[M,3] y) {
        s = Shape(x)  n = Gather(s, zero)  m = Mul(n, two)
        t = Concat<axis=0>(m, three)  y = Reshape(x, t) }"""
    before = model(text, zero=i64([0]), two=i64([2]), three=i64([3]))
    after = before.clone()
    assert fold_shapes(after)[-1].what == "target is now [-1, 3]"
    assert_same(before, after, x=random(4, 6))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        # two sizes unknown, neither at its own place
        (
            """g (float[N,H,2] x) => (float[A,B,2] y) {
                s = Shape(x)  n = Gather(s, zero)  h = Gather(s, one)
                t = Concat<axis=0>(h, n, two)  y = Reshape(x, t) }""",
            {**INDICES, "two": i64([2])},
        ),
        # one unknown, and -1 taken
        (
            """g (float[N,6] x) => (float[A,B] y) {
                s = Shape(x)  n = Gather(s, zero)  m = Mul(n, two)
                t = Concat<axis=0>(m, rest)  y = Reshape(x, t) }""",
            {**INDICES, "two": i64([2])},
        ),
        # 0 means zero here
        (
            """g (float[N,6] x) => (float[A,B] y) {
                s = Shape(x)  n = Gather(s, zero)  t = Concat<axis=0>(n, rest)
                y = Reshape<allowzero=1>(x, t) }""",
            INDICES,
        ),
        # where the slice ends is not known
        (
            """g (float[N,6] x) => (int64[A] y) {
                s = Shape(x)  n = Gather(s, zero)  p = Slice(data, zero, n)  y = Add(p, one) }""",
            {**INDICES, "data": i64([1, 2, 3])},
        ),
    ],
)
def test_must_not_fire(text: str, weights: dict[str, Array]) -> None:
    graph = model(text, 14, **weights)
    before = ops(graph)
    assert fold_shapes(graph) == []
    assert ops(graph) == before


def test_a_weight_is_not_taken_for_a_shape() -> None:
    text = "g (float[N,2] x) => (float[N,2] y) { t = Concat<axis=0>(a, a)  y = Add(x, t) }"
    graph = model(text, a=random(1, 2)[0:1, :1].reshape(1))
    assert fold_shapes(graph) == []
