"""The registry's known ranges hold for what the operators compute."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.ops import registry
from tests.build import model_of, node, run_onnxruntime
from tests.graphs import f32, model

WIDE = np.linspace(-20, 20, 2001, dtype=np.float32)


def ir_node(proto: onnx.NodeProto) -> ir.Node:
    return ir.serde.deserialize_node(proto)


def ranged() -> list[str]:
    rows = [row for row in registry.rows() if row.output_range is not None]
    return [row.op_type for row in rows if not row.op_type.startswith("Clip")]


@pytest.mark.parametrize("op", ranged())
def test_known_ranges_contain_what_comes_out(op: str) -> None:
    item = node(op, "x", "y")
    low, high = registry.known_range(ir_node(item))
    x = np.abs(WIDE) if op == "Sqrt" else WIDE
    opset = 20 if op == "Gelu" else 18
    y = run_onnxruntime(model_of([item], {"x": x}, {}, ["y"], opset), {"x": x})[0]
    assert low is not None or high is not None
    assert low is None or y.min() >= low - 1e-6
    assert high is None or y.max() <= high + 1e-6


def test_clip_bounds_are_attributes_or_constant_inputs() -> None:
    old = node("Clip", "x", "y", min=-1.0, max=6.0)
    assert registry.known_range(ir_node(old)) == (-1.0, 6.0)
    text = """clip (float[3] x, float m) => (float[3] y, float[3] z) {
        y = Clip(x, a, b) z = Clip(x, , m) }"""
    graph = model(text, a=f32(0), b=f32(6)).graph
    assert registry.known_range(graph[0]) == (0.0, 6.0)
    assert registry.known_range(graph[1]) == (None, None)
    open_ended = node("Clip", "x", "y", min=-np.inf, max=np.nan)
    assert registry.known_range(ir_node(open_ended)) == (None, None)


def test_elu_ends_at_minus_alpha() -> None:
    assert registry.known_range(ir_node(node("Elu", "x", "y", alpha=0.5))) == (-0.5, None)


def test_unknown_operators_have_no_row() -> None:
    assert registry.row("", "NoSuchOperator") is None
    assert registry.row("com.microsoft", "Conv") is None
    assert registry.row("ai.onnx", "Conv") is registry.row("", "Conv")
    assert registry.known_range(ir_node(node("NoSuchOperator", "x", "y"))) == (None, None)


def test_every_row_is_an_operator_of_the_standard_or_our_own() -> None:
    for row in registry.rows():
        if row.domain == registry.OWN_DOMAIN:
            continue
        assert onnx.defs.has(row.op_type, row.domain), row.op_type
