"""Patches: columns times weights are what onnxruntime's operator gives."""

import numpy as np
import pytest

from q8tool.calibrate.eight_bit_operators import weight_matrices
from q8tool.calibrate.patches import patches_of
from tests.graphs import Array, model, random, run

CASES = [
    ("", (2, 3, 7, 6), (4, 3, 3, 3)),
    ("pads=[1,2,0,1], strides=[2,1]", (1, 3, 7, 6), (4, 3, 3, 2)),
    ("group=3, pads=[1,1,1,1]", (1, 3, 5, 5), (3, 1, 3, 3)),
    ("group=2, dilations=[2,1]", (1, 4, 7, 7), (6, 2, 3, 3)),
    ("group=3", (1, 3, 5, 5), (6, 1, 3, 3)),
    ('auto_pad="SAME_UPPER", strides=[2,2]', (1, 2, 6, 7), (3, 2, 3, 3)),
    ('auto_pad="SAME_LOWER", strides=[2,2]', (1, 2, 6, 7), (3, 2, 3, 3)),
    ("pads=[1,1]", (1, 2, 9), (3, 2, 3)),
    ("", (1, 2, 4, 4, 4), (3, 2, 2, 2, 2)),
]


@pytest.mark.parametrize(("attributes", "x_shape", "w_shape"), CASES)
def test_convolution(attributes: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    """All places of a Conv, in order."""
    dims = ", ".join(map(str, x_shape))
    graph = model(
        f"g (float[{dims}] x) => (float y) {{ y = Conv <{attributes}> (x, w) }}"
        if attributes
        else f"g (float[{dims}] x) => (float y) {{ y = Conv (x, w) }}",
        w=random(*w_shape),
    )
    x = random(*x_shape, seed=1)
    [wanted] = run(graph, x=x)
    node = graph.graph[0]
    patches = patches_of(node)
    assert patches is not None
    rows = patches.cut(x, 10_000, 0)
    results = rows.transpose(0, 2, 1) @ weight_matrices(node, random(*w_shape), patches.groups)
    # (groups, places, outputs of the group) -> (N, places, outputs)
    flat = results.transpose(1, 0, 2).reshape(x_shape[0], -1, w_shape[0])
    np.testing.assert_allclose(
        flat.transpose(0, 2, 1), wanted.reshape(x_shape[0], w_shape[0], -1), atol=1e-5
    )


def test_places_are_few_and_the_same_twice() -> None:
    """A count bounds the places; the seed chooses them."""
    graph = model("g (float[1,2,8,8] x) => (float y) { y = Conv (x, w) }", w=random(3, 2, 1, 1))
    patches = patches_of(graph.graph[0])
    assert patches is not None
    x = random(1, 2, 8, 8)
    assert patches.cut(x, 10, 0).shape == (1, 2, 10)
    np.testing.assert_array_equal(patches.cut(x, 10, 3), patches.cut(x, 10, 3))


def test_padding_of_codes_is_the_zero_point() -> None:
    """What padding reads is given."""
    graph = model(
        "g (float[1,1,2,2] x) => (float y) { y = Conv <pads=[1,1,1,1]> (x, w) }",
        w=random(1, 1, 3, 3),
    )
    patches = patches_of(graph.graph[0])
    assert patches is not None
    codes: Array = np.full((1, 1, 2, 2), 9, np.uint8)
    assert sorted(np.unique(patches.cut(codes, 99, 0, outside=7))) == [7, 9]
