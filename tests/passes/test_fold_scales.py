"""fold_scales: factors and offsets per channel, and what must stay."""

import numpy as np
import pytest

from q8tool.passes.fold_scales import fold_scales
from tests.graphs import assert_same, f32, model, ops, random

FORMULAS = ["Mul(c, k)", "Mul(k, c)", "Add(c, k)", "Sub(c, k)", "Sub(k, c)", "Div(c, k)"]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1)])
def test_conv_takes_a_constant(formula: str, shape: tuple[int, ...]) -> None:
    text = f"g (float[1,3,8,8] x) => (float[1,4,6,6] y) {{ c = Conv(x, w, b)  y = {formula} }}"
    constant = random(*shape, low=0.5) if shape else f32(0.75)
    before = model(text, w=random(4, 3, 3, 3), b=random(4), k=constant)
    after = before.clone()
    assert len(fold_scales(after)) == 1
    assert ops(after) == ["Conv"]
    assert_same(before, after, 1e-6, x=random(1, 3, 8, 8))
    assert fold_scales(after) == []


def test_a_chain_goes_whole() -> None:
    text = """g (float[N,5] x) => (float[N,4] y) {
        c = Gemm(x, w)  s = Mul(c, k)  y = Add(s, h) }"""
    before = model(text, w=random(5, 4), k=random(4, seed=5), h=random(1, 4, seed=6))
    after = before.clone()
    fold_scales(after)
    assert ops(after) == ["Gemm"]
    assert_same(before, after, 1e-6, x=random(2, 5))


@pytest.mark.parametrize(
    ("formula", "shape"),
    [
        ("Mul(c, k)", (4,)),  # along the width, not the channels
        ("Mul(c, k)", (1, 4, 4, 1)),  # varies along the height
        ("Add(c, k)", (2, 4, 1, 1)),  # makes the batch larger
        ("Add(c, k)", (1, 1, 4, 1, 1)),  # makes the rank larger
        ("Div(k, c)", (1, 4, 1, 1)),  # not linear
        ("Mul(c, c)", None),
    ],
)
def test_must_not_fire(formula: str, shape: tuple[int, ...] | None) -> None:
    rank = 4 if shape is None else max(4, len(shape))
    dims = ",".join("ABCDE"[:rank])
    text = f"g (float[1,3,4,4] x) => (float[{dims}] y) {{ c = Conv(x, w)  y = {formula} }}"
    weights = {} if shape is None else {"k": random(*shape)}
    graph = model(text, w=random(4, 3, 1, 1), **weights)
    before = ops(graph)
    assert fold_scales(graph) == []
    assert ops(graph) == before


def test_a_divisor_of_zero_stays() -> None:
    text = "g (float[1,3,4,4] x) => (float[1,4,4,4] y) { c = Conv(x, w)  y = Div(c, k) }"
    graph = model(text, w=random(4, 3, 1, 1), k=np.zeros((1, 4, 1, 1), np.float32))
    assert fold_scales(graph) == []
