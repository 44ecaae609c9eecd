"""known_ranges: what operators say about their results, and how given ranges are cut to it."""

import numpy as np
import pytest

from q8tool.passes.known_ranges import known_ranges
from tests.graphs import Array, f32, i64, model, random


def ranges(body: str, given: dict[str, tuple[float, float]], **weights: Array) -> dict[str, object]:
    graph = model(f"g (float[1,4,8,8] x) => (float y) {{ {body} }}", 13, **weights)
    return dict(known_ranges(graph, given))


X = {"x": (-2.0, 3.0)}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu(x)", (0, 3)),
        ("y = Clip(x, zero, six)", (0, 3)),
        ("y = Clip(x, one)", (1, 3)),
        ("y = Sigmoid(x)", (0, 1)),
        ("y = Tanh(x)", (-1, 1)),
        ("y = Softmax(x)", (0, 1)),
        ("y = MaxPool<kernel_shape=[2,2]>(x)", (-2, 3)),
        ("y = Transpose(x)", (-2, 3)),
        ("y = GlobalAveragePool(x)", (-2, 3)),
        ("s = Sigmoid(x) y = Concat<axis=1>(s, x)", (-2, 3)),
        ("y = Concat<axis=1>(x, ten)", (-2, 10)),
        ("n = IsNaN(x) s = Sigmoid(x) y = Where(n, ten, s)", (0, 10)),
        ("n = IsNaN(x) e = Exp(x) y = Where(n, ten, e)", None),
        ("n = IsNaN(x) y = Where(n, endless, x)", None),
        ("y = Pad(x, pads)", (-2, 3)),
        ("y = Pad(x, pads, six)", (-2, 6)),
        ("r = Relu(x) y = Transpose(r)", (0, 3)),
        ('y = Resize<mode="linear">(x, , twice)', (-2, 3)),
        ('y = Resize<mode="cubic">(x, , twice)', None),  # it overshoots
        ("y = Add(x, ten)", None),
        ("y = Conv(x, w)", None),
        ("y = Exp(x)", None),
        ("c = Conv(x, w) y = Relu(c)", None),
        ("c = Conv(x, w) y = Clip(c, zero, six)", (0, 6)),
        ("c = Conv(x, w) y = Clip(c, zero, endless)", None),
        ("c = Conv(x, w) y = Clip(c, zero, most)", None),  # it is there against overflow
        ("y = Clip(x, zero, most)", (0, 3)),
        ("c = Conv(x, w) y = Clip(c, six, one)", (1, 1)),  # all is the upper end
        ("c = Conv(x, w) s = Sigmoid(c) y = Mul(c, s)", None),
    ],
)
def test_implied(body: str, expected: tuple[float, float] | None) -> None:
    found = ranges(
        body, X, zero=f32(0), one=f32(1), six=f32(6), endless=f32(np.inf), most=f32(65504),
        ten=f32(10 * np.ones((1, 4, 8, 8))),
        pads=i64([0, 0, 1, 1, 0, 0, 1, 1]), w=random(4, 4, 1, 1), twice=f32([1, 1, 2, 2]),
    )  # fmt: skip
    assert found.get("y") == expected


def test_a_measured_range_wins_but_not_beyond_what_the_operator_gives() -> None:
    body = "c = Conv(x, w) y = Clip(c, zero, six)"
    weights = {"w": random(4, 4, 1, 1), "zero": f32(0), "six": f32(6)}
    assert ranges(body, {"y": (0.0, 4.2)}, **weights)["y"] == (0.0, 4.2)
    assert ranges(body, {"y": (-1.0, 9.0)}, **weights)["y"] == (0.0, 6.0)
    # Nothing is left of it: then it is believed.
    assert ranges(body, {"y": (7.0, 9.0)}, **weights)["y"] == (7.0, 9.0)


def test_an_average_over_counted_padding_holds_zero() -> None:
    body = "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)"
    assert ranges(body, {"x": (2.0, 3.0)})["y"] == (0.0, 3.0)


def test_without_anything_given() -> None:
    found = ranges("s = Sigmoid(x) t = Transpose(s) y = Relu(x)", {})
    assert found == {"s": (0.0, 1.0), "t": (0.0, 1.0)}


def test_constants_of_arithmetic_have_their_own() -> None:
    found = ranges("y = Mul(x, k)", {}, k=f32([[[[-1.5]], [[2.0]], [[0.0]], [[1.0]]]]))
    assert found == {"k": (-1.5, 2.0)}


def test_constants_that_are_no_numbers_have_none() -> None:
    assert ranges("y = Mul(x, k)", {}, k=f32([np.nan])) == {}
