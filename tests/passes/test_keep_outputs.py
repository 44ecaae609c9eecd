"""keep_outputs: prune to chosen values or nodes."""

import pytest

from q8tool.errors import UsageError
from q8tool.model.shapes import infer_shapes
from q8tool.passes.keep_outputs import keep_outputs
from tests.graphs import assert_same, model, ops, random

TEXT = """g (float[2] x, float[2] z) => (float[2] y) {
    a = Relu(x)  b = Mul(a, w)  y = Add(b, z) }"""


def test_what_is_not_needed_goes_inputs_too() -> None:
    graph = model(TEXT, w=random(2))
    infer_shapes(graph)
    changes = keep_outputs(graph, ["a"])
    assert ops(graph) == ["Relu"]
    assert [value.name for value in graph.graph.inputs] == ["x"]
    assert list(graph.graph.initializers) == []
    assert {change.node for change in changes} == {"a", "Mul 'b'", "Add 'y'", "z"}
    wanted = model("g (float[2] x) => (float[2] a) { a = Relu(x) }")
    assert_same(wanted, graph, x=random(2))
    assert keep_outputs(graph, ["a"]) == []


def test_several_in_the_order_asked_for() -> None:
    graph = model(TEXT, w=random(2))
    infer_shapes(graph)
    keep_outputs(graph, ["y", "a"])
    assert [value.name for value in graph.graph.outputs] == ["y", "a"]
    assert ops(graph) == ["Relu", "Mul", "Add"]


def test_a_node_stands_for_its_first_output() -> None:
    graph = model(TEXT, w=random(2))
    graph.graph[1].name = "times"
    keep_outputs(graph, ["times"])
    assert [value.name for value in graph.graph.outputs] == ["b"]


def test_the_outputs_it_has_change_nothing() -> None:
    graph = model(TEXT, w=random(2))
    assert keep_outputs(graph, ["y"]) == []


def test_an_unknown_name_names_the_nearest() -> None:
    graph = model("g (float[2] x) => (float[2] softmax) { softmax = Relu(x) }")
    with pytest.raises(UsageError, match="no value or node named 'sofmax'") as caught:
        keep_outputs(graph, ["sofmax"])
    assert caught.value.hint == "did you mean softmax?"
