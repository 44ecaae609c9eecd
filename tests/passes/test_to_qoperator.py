"""to_qoperator: QLinearConv and QLinearMatMul with the answers of the group they replace."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.model.shapes import infer_shapes
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.known_ranges import known_ranges
from q8tool.passes.strip import strip
from q8tool.passes.to_qoperator import to_qoperator
from tests.graphs import Array, assert_same, f32, model, ops, random, run

Q, DQ = "QuantizeLinear", "DequantizeLinear"
W = random(4, 4, 3, 3)


def qdq(body: str, given: dict[str, tuple[float, float]], **weights: Array) -> ir.Model:
    text = f"g (float[1,4,8,8] x) => (float[i,j,k,l] y) {{ {body} }}"
    graph = model(text, 13, w=W, **weights)
    ranges = known_ranges(graph, {"x": (-2.0, 2.0), **given})
    choice = choose_precision(graph, ranges)
    insert_conversions(graph, choice, ranges)
    strip(graph)
    return graph


def rewritten(before: ir.Model) -> tuple[ir.Model, list[str]]:
    after = before.clone()
    changes = to_qoperator(after)
    assert to_qoperator(after) == []
    return after, [change.what for change in changes]


def same_within_a_code(before: ir.Model, after: ir.Model, step: float) -> None:
    x = random(1, 4, 8, 8)
    wanted, got = run(before, x=x)[0], run(after, x=x)[0]
    assert np.abs(wanted - got).max() <= step * 1.01


@pytest.mark.parametrize("clamp", ["", "Relu", "Clip"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_convolution(clamp: str, bias: bool, group: int) -> None:
    behind = {"": "Identity(a)", "Relu": "Relu(a)", "Clip": "Clip(a, none, six)"}[clamp]
    body = f"""a = Conv<group={group}, pads=[1,1,1,1], strides=[2,2]>(x, v{", b" * bias})
        r = {behind} y = GlobalAveragePool(r)"""
    text = body.replace("y = GlobalAveragePool(r)", "y = Conv<kernel_shape=[1,1]>(r, k)")
    weights = {"v": random(4, 4 // group, 3, 3), "k": random(2, 4, 1, 1)}
    weights |= {"b": random(4)} if bias else {}
    weights |= {"none": f32(0), "six": f32(6)} if clamp == "Clip" else {}
    high = 6.0 if clamp == "Clip" else 9.0
    given = {"r": (0.0 if clamp else -8.0, high), "a": (-8.0, high)}
    before = qdq(text, given, **weights)
    after, changes = rewritten(before)
    assert changes == ["QLinearConv"]
    assert "Relu" not in ops(after)
    assert "Clip" not in ops(after)
    # One code of r, times the weights of the last layer.
    same_within_a_code(before, after, 17 / 255 * float(np.abs(weights["k"]).sum(axis=1).max()))


def test_a_chain_ends_with_the_float_layer() -> None:
    body = "a = Conv(x, w) r = Relu(a) b = Conv(r, w) c = Relu(b) y = Conv(c, k)"
    before = qdq(body, {"r": (0, 8), "c": (0, 20)}, k=random(2, 4, 1, 1))
    after, changes = rewritten(before)
    assert changes == ["QLinearConv"] * 2
    assert ops(after) == [Q, "QLinearConv", "QLinearConv", DQ, DQ, "Conv"]


def test_a_clamp_that_clamps_stays() -> None:
    body = "a = Conv(x, w) r = Clip(a, none, two) b = Conv(r, w) y = Neg(b)"
    before = qdq(body, {}, none=f32(0), two=f32(2))
    # Someone else's parameters: the codes reach to 5.1, the clamp only to 2.
    for node in before.graph:
        if node.op_type in (Q, DQ) and (node.inputs[1].name or "").startswith("r"):  # type: ignore[union-attr]
            scale = node.inputs[1]
            assert scale is not None
            scale.const_value = ir.tensor(f32(0.02), name=scale.name)
    after, changes = rewritten(before)
    assert changes == []
    assert "Clip" in ops(after)
    assert_same(before, after, x=random(1, 4, 8, 8))


def test_matmul_with_weights_and_of_two_activations() -> None:
    body = "a = MatMul(x, m) t = Transpose<perm=[0,1,3,2]>(a) b = MatMul(a, t) y = MatMul(b, m)"
    before = qdq(body, {"a": (-9.0, 9.0), "b": (-90.0, 90.0)}, m=random(8, 8))
    after, changes = rewritten(before)
    assert changes == ["QLinearMatMul"] * 2
    same_within_a_code(before, after, 180 / 255 * float(np.abs(random(8, 8)).sum(axis=0).max()))


def test_several_nodes_of_one_name() -> None:
    body = f"""a = {Q}(x, s) r = {DQ}(a, s) v = {DQ}(w8, s) c = Conv(r, v) p = {Q}(c, s)
        t = {DQ}(p, s) d = Conv(t, v) q = {Q}(d, s) y = {DQ}(q, s)"""
    text = f"g (float[1,4,8,8] x) => (float[i,j,k,l] y) {{ {body} }}"
    before = model(text, 13, s=f32(0.1), w8=np.ones((4, 4, 1, 1), np.uint8))
    infer_shapes(before)
    for node in before.graph:
        node.name = "same"
    after, changes = rewritten(before)
    assert changes == ["QLinearConv"] * 2
    for graph in (before, after):
        for node in graph.graph:
            node.name = None  # onnxruntime refuses equal names
    assert_same(before, after, x=random(1, 4, 8, 8, low=0.0))


def test_float_graphs_stay() -> None:
    graph = model("g (float[1,4,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }", 13, w=W)
    assert rewritten(graph)[1] == []
