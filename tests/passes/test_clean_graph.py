"""clean_graph: unused and doubled nodes and weights go."""

from q8tool.passes.clean_graph import clean_graph
from tests.graphs import assert_same, model, ops, random


def test_unused_and_doubled() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Relu(x)  b = Relu(x)  c = Exp(x)  d = Add(a, v)  e = Add(b, w)  y = Mul(d, e) }"""
    before = model(text, v=random(2), w=random(2), unused=random(3))
    after = before.clone()
    assert {change.node for change in clean_graph(after)} == {
        "Exp 'c'", "Relu 'b'", "Add 'e'", "unused", "w",
    }  # fmt: skip
    assert ops(after) == ["Relu", "Add", "Mul"]
    assert_same(before, after, x=random(2))
    assert clean_graph(after) == []


def test_notes_of_exporters_go_and_metadata_stays() -> None:
    graph = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    graph.graph[0].doc_string = "/home/somebody/train.py(17)"
    graph.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = "train.py"
    graph.metadata_props["q8tool.labels"] = '["a"]'
    clean_graph(graph)
    assert not graph.graph[0].doc_string
    assert not graph.graph[0].metadata_props
    assert graph.metadata_props == {"q8tool.labels": '["a"]'}


def test_two_random_draws_stay_two() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Bernoulli(x)  b = Bernoulli(x)  y = Add(a, b) }"
    graph = model(text, 15)
    clean_graph(graph)
    assert ops(graph) == ["Bernoulli", "Bernoulli", "Add"]


def test_two_equal_outputs_keep_their_names() -> None:
    text = "g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Relu(x) }"
    before = model(text)
    after = before.clone()
    clean_graph(after)
    assert [value.name for value in after.graph.outputs] == ["y", "z"]
    assert_same(before, after, x=random(2))


def test_nodes_without_a_name_are_named_after_what_they_make() -> None:
    graph = model("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }")
    graph.graph[1].name = "last"
    clean_graph(graph)
    assert [node.name for node in graph.graph] == ["Relu_a", "last"]
