"""move_scales: factors of a product's sides end up behind it, answers stay."""

import numpy as np
import pytest

from q8tool import Session
from q8tool.passes.move_scales import move_scales
from tests.graphs import assert_same, f32, model, ops, proto, random

HEAD = "g (float[2,3,4] q, float[2,4,5] k) => (float[2,3,5] y) {{ {} }}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Mul(q, c) y = MatMul(a, k)", ["MatMul", "Mul"]),
        ("a = Mul(c, q) b = Div(k, c) y = MatMul(a, b)", ["MatMul", "Div", "Mul"]),
        ("a = Mul(q, c) b = Mul(k, c) s = MatMul(a, b) y = Softmax(s)",
         ["MatMul", "Mul", "Mul", "Softmax"]),
        ("a = Mul(q, c) b = Mul(a, c) y = MatMul(b, k)", ["MatMul", "Mul", "Mul"]),
    ],
)  # fmt: skip
def test_the_factor_follows_the_product(body: str, expected: list[str]) -> None:
    text = HEAD.format(body)
    graph = model(text, 17, c=f32(0.37))
    assert move_scales(graph)
    assert ops(graph) == expected
    assert_same(proto(text, 17, c=f32(0.37)), graph, 1e-6, q=random(2, 3, 4), k=random(2, 4, 5))


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("a = Mul(q, c) s = MatMul(a, k) y = Add(s, d) z = Add(a, c)", {"d": f32(1)}),  # two read a
        ("a = Mul(q, r) y = MatMul(a, k)", {"r": random(3, 1)}),  # no number
        ("a = Div(c, q) y = MatMul(a, k)", {}),  # the tensor divides
        ("a = Mul(q, n) y = MatMul(a, k)", {"n": f32(0)}),
        ("a = Mul(q, n) y = MatMul(a, k)", {"n": f32(np.inf)}),
        ("a = Mul(q, c) y = MatMul(a, w)", {"w": random(4, 5)}),  # constant weights
    ],
)
def test_what_stays(body: str, constants: dict[str, np.ndarray]) -> None:
    outputs = "float[2,3,5] y, float z" if "z =" in body else "float[2,3,5] y"
    text = HEAD.format(body).replace("float[2,3,5] y", outputs)
    graph = model(text, 17, c=f32(0.37), **constants)
    before = ops(graph)
    assert move_scales(graph) == []
    assert ops(graph) == before


@pytest.mark.parametrize("factors", ["b = Identity(k)", "b = Mul(k, c)"])
def test_names_stand_for_the_same_numbers(factors: str) -> None:
    text = HEAD.format(f"a = Mul(q, c) {factors} s = MatMul(a, b) y = Softmax(s)")
    graph = model(text, 17, c=f32(0.37))
    move_scales(graph)
    q, k = random(2, 3, 4), random(2, 4, 5)
    seen = Session(graph, observe=["s"]).run({"q": q, "k": k})["s"]
    sides = q * np.float32(0.37), k * np.float32(0.37 if "Mul" in factors else 1)
    np.testing.assert_allclose(seen, sides[0] @ sides[1], rtol=1e-5, atol=1e-6)
