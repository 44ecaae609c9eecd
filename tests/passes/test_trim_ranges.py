"""trim_ranges: what functions ignore has no codes, and what they make of the rest stays."""

import math

import numpy as np
import pytest

from q8tool.numerics.qparams import from_range
from q8tool.passes.trim_ranges import trim_ranges
from tests.graphs import f32, model, random

Ranges = dict[str, tuple[float, float]]
W = random(4, 4, 1, 1)
HEAD = "m (float[1,4,5,5] x) => (float[1,4,5,5] y) "
GELU = "d = Div(c, root) e = Erf(d) p = Add(e, one) q = Mul(c, p) f = Mul(q, half)"
NUMBERS = {"root": f32(math.sqrt(2)), "one": f32(1), "half": f32(0.5)}


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def trimmed(function: str, ranges: Ranges, extra: str = "") -> Ranges:
    body = f"c = Conv(x, w) {function} {extra} y = Conv(f, w)"
    numbers = {name: array for name, array in NUMBERS.items() if f" {name})" in body}
    graph = model(f"{HEAD} {{ {body} }}", 14, w=W, **numbers)
    return trim_ranges(graph, {"x": (-1.0, 1.0), **ranges})[0]


@pytest.mark.parametrize(
    ("function", "formula", "lows"),
    [("s = Sigmoid(c) f = Mul(c, s)", silu, -0.28), (GELU, gelu, -0.17)],
)
def test_the_flat_side_goes(function: str, formula: object, lows: float) -> None:
    assert callable(formula)
    found = trimmed(function, {"c": (-18.0, 13.0), "f": (lows, 13.0)})
    low, high = found["c"]
    half_a_step = float(from_range(lows, 13.0).scale) / 2
    assert high == 13.0
    assert -18.0 < low < -1.0
    assert all(abs(formula(x) - formula(low)) <= half_a_step for x in np.linspace(-18, low, 99))
    # One place further it would be too much.
    assert abs(formula(-18.0) - formula(low + 31 / 2000 * 2)) > half_a_step


def test_both_ends_of_a_hard_sigmoid() -> None:
    found = trimmed("f = HardSigmoid<alpha=0.25>(c)", {"c": (-10.0, 8.0), "f": (0.0, 1.0)})
    half_a_step = 0.5 / 255
    # 0.25 x + 0.5 is 0 at -2 and 1 at 2.
    assert -2.0 < found["c"][0] <= -2.0 + half_a_step / 0.25 + 1e-6
    assert 2.0 > found["c"][1] >= 2.0 - half_a_step / 0.25 - 1e-6


@pytest.mark.parametrize(
    ("function", "extra"),
    [
        ("f = LeakyRelu<alpha=0.1>(c)", ""),  # nothing of it is flat
        ("f = HardSigmoid(c)", "z = Conv(c, w) f2 = Add(f, z)"),  # somebody else reads c
    ],
)
def test_what_is_needed_stays(function: str, extra: str) -> None:
    ranges: Ranges = {"c": (-10.0, 8.0), "f": (-1.0, 8.0), "z": (-1.0, 1.0), "f2": (-1.0, 2.0)}
    assert trimmed(function, ranges, extra)["c"] == (-10.0, 8.0)
