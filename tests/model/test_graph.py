"""Reading and editing graphs."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.errors import InputError
from q8tool.model.graph import (
    Names,
    constant,
    get_float,
    get_int,
    get_ints,
    get_string,
    is_quantized,
    make_initializer,
    node_label,
    op_counts,
    replace_uses,
)
from tests.graphs import f32, model, ops, random


def test_constants() -> None:
    graph = model(
        """g (float[2] x, float[2] v) => (float[2] y) {
            c = Constant<value_floats=[1.0,2.0]>()
            a = Add(x, c)  b = Add(a, w)  y = Add(b, v) }""",
        w=f32([3, 4]),
        v=f32([5, 6]),
    ).graph
    values = ir.convenience.create_value_mapping(graph)
    assert np.asarray(constant(values["c"])).tolist() == [1, 2]
    assert np.asarray(constant(values["w"])).tolist() == [3, 4]
    assert constant(values["v"]) is None  # a caller may feed another one
    assert constant(values["a"]) is None
    assert constant(None) is None


def test_a_constant_whose_bytes_do_not_fit_is_an_input_error() -> None:
    graph = model("g (float[2] x) => (float[2] y) { y = Add(x, w) }", w=random(2))
    broken = ir.to_proto(graph)
    broken.graph.initializer[0].raw_data = b"123"
    value = ir.from_proto(broken).graph[0].inputs[1]
    with pytest.raises(InputError, match="tensor 'w'"):
        constant(value)


def test_new_initializers_get_names_of_their_own() -> None:
    graph = model("g (float[2] x) => (float[2] y) { y = Add(x, w) }", w=random(2)).graph
    names = Names(graph)
    assert [names.new(base) for base in ("w", "y", "w", "free", "free")] == [
        "w_1",
        "y_1",
        "w_2",
        "free",
        "free_1",
    ]
    assert make_initializer(graph, "w_1", f32(7)).shape == ()
    assert make_initializer(graph, "y_1", f32([[1]])).shape == (1, 1)
    assert list(graph.initializers) == ["w", "w_1", "y_1"]


def test_names_inside_subgraphs_count() -> None:
    graph = model(
        """g (bool c, float[2] x) => (float[2] y) {
            y = If (c) <then_branch = a () => (float[2] p) { p = Neg(x) },
                        else_branch = b () => (float[2] q) { q = Exp(x) }> }"""
    ).graph
    assert Names(graph).new("p") == "p_1"


def test_replace_uses_keeps_the_name_of_an_output() -> None:
    graph = model("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }").graph
    relu, negative = graph
    replace_uses(negative.outputs[0], relu.outputs[0])
    graph.remove(negative, safe=True)
    assert [value.name for value in graph.outputs] == ["y"]
    assert relu.outputs[0].name == "y"
    with pytest.raises(ValueError, match="cannot become the graph output"):
        replace_uses(relu.outputs[0], graph.inputs[0])


def test_attributes_and_defaults() -> None:
    node = model(
        """g (float[1,1,4,4] x) => (float[1,1,2,2] y) {
            y = MaxPool<kernel_shape=[2,2],strides=[2,2],auto_pad="VALID",ceil_mode=1>(x) }"""
    ).graph[0]
    assert get_ints(node, "strides", [1, 1]) == [2, 2]
    assert get_ints(node, "pads", [0] * 4) == [0, 0, 0, 0]
    assert get_int(node, "ceil_mode", 0) == 1
    assert get_string(node, "auto_pad", "NOTSET") == "VALID"
    assert get_float(node, "alpha", 0.5) == 0.5
    assert node_label(node) == "MaxPool 'y'"


def test_is_quantized_and_counts() -> None:
    plain = model("g (float[2] x) => (float[2] y) { a = Relu(x)  b = Relu(a)  y = Exp(b) }")
    assert not is_quantized(plain)
    assert op_counts(plain) == {"Relu": 2, "Exp": 1}
    text = "g (float[2] x) => (uint8[2] y) { y = QuantizeLinear(x, s) }"
    quantized = model(text, s=f32(1))
    assert is_quantized(quantized)
    assert ops(quantized) == ["QuantizeLinear"]
