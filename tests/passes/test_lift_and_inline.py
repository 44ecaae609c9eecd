"""lift_weights and inline_functions: constants and functions in their plain form."""

import onnx
import onnx_ir as ir
import pytest

from q8tool.errors import InputError
from q8tool.passes.inline_functions import inline_functions
from q8tool.passes.lift_weights import lift_weights
from tests.graphs import assert_same, model, ops, proto, random, weight


def test_weights_are_no_inputs_any_more() -> None:
    text = """<ir_version: 3, opset_import: ["": 9]>
        g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = MatMul(x, w) }"""
    before = proto(text, w=random(3, 4))
    after = ir.from_proto(before)
    assert [change.node for change in lift_weights(after)] == ["w"]
    assert [value.name for value in after.graph.inputs] == ["x"]
    assert after.ir_version == 4
    assert_same(before, after, x=random(2, 3))
    assert lift_weights(after) == []


def test_constant_nodes_of_every_kind() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Constant<value=float[2]{1.0,2.0}>()  b = Constant<value_float=3.0>()
        c = Constant<value_floats=[4.0,5.0]>()
        s = Add(x, a)  t = Add(s, b)  y = Add(t, c) }"""
    before = model(text)
    after = before.clone()
    lift_weights(after)
    assert ops(after) == ["Add", "Add", "Add"]
    assert weight(after, "c").tolist() == [4, 5]
    assert_same(before, after, x=random(2))
    assert lift_weights(after) == []


def test_a_constant_that_is_an_output_stays() -> None:
    graph = model("g () => (float[1] y) { y = Constant<value=float[1]{1.0}>() }")
    assert lift_weights(graph) == []
    assert ops(graph) == ["Constant"]


FUNCTION = """<ir_version: 8, opset_import: ["": 13, "mine": 1]>
g (float[2] x) => (float[2] y) { y = mine.Swish(x) }
<opset_import: ["": 13], domain: "mine">
Swish (a) => (b) { s = Sigmoid(a)  b = Mul(a, s) }"""


def test_functions_become_their_nodes() -> None:
    before = model(FUNCTION)
    after = before.clone()
    assert [change.node for change in inline_functions(after)] == ["Swish"]
    assert ops(after) == ["Sigmoid", "Mul"]
    assert not after.functions
    assert_same(before, after, x=random(2))
    assert inline_functions(after) == []


def test_functions_that_call_each_other_in_a_circle() -> None:
    text = FUNCTION.replace("s = Sigmoid(a)", "s = mine.Swish(a)").replace(
        '["": 13], domain', '["": 13, "mine": 1], domain'
    )
    graph = ir.from_proto(onnx.parser.parse_model(text))
    with pytest.raises(InputError, match="circle"):
        inline_functions(graph)
