"""fold_batchnorm: which nodes remain, that answers stay, where it must not fire."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.model.shapes import infer_shapes
from q8tool.passes.fold_batchnorm import fold_batchnorm
from tests.graphs import assert_same, f32, model, ops, random, weight


def statistics(channels: int) -> dict[str, Any]:
    return {
        "g": random(channels, seed=1),
        "h": random(channels, seed=2),
        "m": random(channels, seed=3),
        "v": random(channels, seed=4, low=0.1),
    }


CONV = """g (float[N,3,8,8] x) => (float[N,4,8,8] y) {
    c = Conv<pads=[1,1,1,1]>(x, w)
    n = BatchNormalization<epsilon=0.01>(c, g, h, m, v)
    y = Relu(n)
}"""


def test_conv_without_bias_takes_it_and_keeps_its_weights_name() -> None:
    before = model(CONV, w=random(4, 3, 3, 3), **statistics(4))
    after = before.clone()
    changes = fold_batchnorm(after)
    assert ops(after) == ["Conv", "Relu"]
    assert [(c.pass_name, c.what) for c in changes] == [("fold_batchnorm", "into Conv 'c'")]
    assert "w" in after.graph.initializers
    assert_same(before, after, 1e-6, x=random(2, 3, 8, 8))
    assert fold_batchnorm(after) == []


def test_weights_by_hand() -> None:
    # factor = 6 / sqrt(8 + 1) = 2; weight 3 * 2; bias (5 - 1) * 2 + 7
    graph = model(
        """g (float[1,1,1,1] x) => (float[1,1,1,1] y) {
            c = Conv(x, w, b)  y = BatchNormalization<epsilon=1.0>(c, g, h, m, v) }""",
        w=np.full((1, 1, 1, 1), 3, np.float32),
        b=f32([5]),
        g=f32([6]),
        h=f32([7]),
        m=f32([1]),
        v=f32([8]),
    )
    fold_batchnorm(graph)
    assert weight(graph, "w").item() == 6
    assert weight(graph, "b").item() == 15
    assert graph.graph.outputs[0].name == "y"


@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(groups: int) -> None:
    text = f"""g (float[1,4,5,5] x) => (float[1,6,11,11] y) {{
        c = ConvTranspose<strides=[2,2],group={groups}>(x, w, b)
        y = BatchNormalization(c, g, h, m, v) }}"""
    before = model(text, w=random(4, 6 // groups, 3, 3), b=random(6), **statistics(6))
    after = before.clone()
    fold_batchnorm(after)
    assert ops(after) == ["ConvTranspose"]
    assert_same(before, after, 1e-6, x=random(1, 4, 5, 5))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["channels", "row", "scalar", "none"])
def test_gemm_with_alpha_and_beta(transposed: int, bias: str) -> None:
    inputs = "x, w" if bias == "none" else "x, w, b"
    text = f"""g (float[N,5] x) => (float[N,4] y) {{
        c = Gemm<alpha=0.5,beta=2.0,transB={transposed}>({inputs})
        y = BatchNormalization(c, g, h, m, v) }}"""
    weights = {"w": random(4, 5) if transposed else random(5, 4), **statistics(4)}
    shapes = {"channels": (4,), "row": (1, 4), "scalar": ()}
    if bias != "none":
        weights["b"] = random(4).reshape(-1)[: int(np.prod(shapes[bias]))].reshape(shapes[bias])
    before = model(text, **weights)
    after = before.clone()
    fold_batchnorm(after)
    assert ops(after) == ["Gemm"]
    assert_same(before, after, 1e-6, x=random(3, 5))


def test_after_something_else_it_becomes_mul_and_add() -> None:
    text = """g (float[N,4,8,8] x) => (float[N,4,8,8] y) {
        r = Relu(x)  y = BatchNormalization(r, g, h, m, v) }"""
    before = model(text, **statistics(4))
    after = before.clone()
    infer_shapes(after)
    fold_batchnorm(after)
    assert ops(after) == ["Relu", "Mul", "Add"]
    assert_same(before, after, 1e-6, x=random(2, 4, 8, 8))
    assert fold_batchnorm(after) == []


def test_weights_that_others_share_stay() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,3,6,6] y, float[1,3,6,6] z) {
        c = Conv(x, w)  y = BatchNormalization(c, g, h, m, v)  z = Conv(x, w) }"""
    before = model(text, w=random(3, 3, 3, 3), **statistics(3))
    after = before.clone()
    fold_batchnorm(after)
    assert ops(after) == ["Conv", "Conv"]
    assert_same(before, after, 1e-6, x=random(1, 3, 8, 8))


def test_a_result_that_others_read_is_not_folded_into() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,3,6,6] y, float[1,3,6,6] c) {
        c = Conv(x, w)  y = BatchNormalization(c, g, h, m, v) }"""
    before = model(text, w=random(3, 3, 3, 3), **statistics(3))
    after = before.clone()
    infer_shapes(after)
    fold_batchnorm(after)
    assert ops(after) == ["Conv", "Mul", "Add"]
    assert_same(before, after, 1e-6, x=random(1, 3, 8, 8))


@pytest.mark.parametrize(
    "text",
    [
        # training: statistics come from the batch
        """g (float[2,3,4,4] x) => (float[2,3,4,4] y) {
            y, rm, rv = BatchNormalization<training_mode=1>(x, g, h, m, v) }""",
        # parameters that are computed
        """g (float[2,3,4,4] x, float[3] k) => (float[2,3,4,4] y) {
            kk = Relu(k)  y = BatchNormalization(x, kk, h, m, v) }""",
    ],
)
def test_must_not_fire(text: str) -> None:
    graph = model(text, 15, **statistics(3))
    infer_shapes(graph)
    before = ops(graph)
    assert fold_batchnorm(graph) == []
    assert ops(graph) == before


def test_quantized_weights_stay_quantized() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) {
        w = DequantizeLinear<axis=0>(codes, scale)
        c = Conv(x, w)
        y = BatchNormalization(c, g, h, m, v) }"""
    graph = model(
        text,
        codes=np.ones((4, 3, 3, 3), np.int8),
        scale=np.ones(4, np.float32),
        **statistics(4),
    )
    infer_shapes(graph)
    fold_batchnorm(graph)
    assert ops(graph) == ["DequantizeLinear", "Conv", "Mul", "Add"]


@pytest.mark.parametrize("variance", [np.nan, -1, np.inf])
def test_statistics_that_are_no_numbers_stay_visible(variance: float) -> None:
    graph = model(CONV, w=random(4, 3, 3, 3), **{**statistics(4), "v": f32([1, variance, 1, 1])})
    infer_shapes(graph)
    fold_batchnorm(graph)
    assert ("BatchNormalization" in ops(graph)) == (variance != np.inf)


def test_weights_that_would_overflow_are_left_alone() -> None:
    before = model(CONV, w=np.full((4, 3, 3, 3), 1e30, np.float32), **statistics(4))
    before.graph.initializers["g"].const_value = ir.tensor(f32([1e30] * 4))
    after = before.clone()
    infer_shapes(after)
    fold_batchnorm(after)
    assert ops(after) == ["Conv", "Mul", "Add", "Relu"]
    assert_same(before, after, 1e-6, x=np.zeros((1, 3, 8, 8), np.float32))
