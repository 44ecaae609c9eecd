"""Plain operators: the same answers from operators that have an eight-bit form."""

import numpy as np
import pytest

from q8tool.passes.plain_operators import plain_operators
from tests.graphs import assert_same, model, ops, random


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y = Sum(x)", ["Sum"]),
        ("y = Sum(x, k)", ["Add"]),
        ("y = Sum(x, k, x, r)", ["Add", "Add", "Add"]),
        ("s = Sum(x, r, k) y = Relu(s)", ["Add", "Add", "Relu"]),
        ("y = Gemm<transA=1, alpha=0.5>(x, w, r)", ["Transpose", "Gemm"]),
        ("y = Gemm<transA=1, transB=1>(x, v)", ["Transpose", "Gemm"]),
        ("y = Gemm<transA=1>(x, x)", ["Gemm"]),  # of two activations
    ],
)
def test_names_that_are_plainer(formula: str, expected: list[str]) -> None:
    weights = {"k": random(6, 4), "r": random(4), "w": random(6, 4), "v": random(4, 6)}
    used = {name: array for name, array in weights.items() if name in formula}
    before = model(f"g (float[6,4] x) => (float[N,4] y) {{ {formula} }}", **used)
    after = before.clone()
    plain_operators(after)
    assert ops(after) == expected
    assert_same(before, after, 1e-6, x=random(6, 4, seed=1))
    assert plain_operators(after) == []


def test_a_node_keeps_its_name_and_another_output_its_value() -> None:
    before = model(
        "g (float[3,4] x) => (float[3,4] y, float[3,4] s) { s = Sum(x, k) y = Relu(s) }",
        k=np.ones(4, np.float32),
    )
    before.graph[0].name = "residual"
    after = before.clone()
    assert len(plain_operators(after)) == 1
    assert after.graph[0].name == "residual"
    assert_same(before, after, x=random(3, 4))
