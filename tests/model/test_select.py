"""select_nodes: names, operator types and expressions; typos get the nearest name."""

import onnx_ir as ir
import pytest

from q8tool.errors import UsageError
from q8tool.model.select import select_nodes
from tests.graphs import model


@pytest.fixture
def graph() -> ir.Model:
    found = model(
        "g (float[2] x) => (float[2] y) { a = Relu(x) b = Sigmoid(a) c = Relu(b) y = Neg(c) }"
    )
    for node, name in zip(found.graph, ["head/relu", "head/gate", "tail", None], strict=True):
        node.name = name
    return found


@pytest.mark.parametrize(
    ("pattern", "outputs"),
    [
        ("tail", "c"),
        ("head/*", "a b"),
        ("*", "a b c y"),
        ("head/[rg]*", "a b"),
        ("y", "y"),  # no name of its own
        ("op:Relu", "a c"),
        ("op:*", "a b c y"),
        ("op:[RN]e*", "a c y"),
        ("re:head/.*", "a b"),
        ("re:ta.l", "c"),
    ],
)
def test_patterns(graph: ir.Model, pattern: str, outputs: str) -> None:
    found = select_nodes(graph, [pattern])
    assert [node.outputs[0].name for node in found[pattern]] == outputs.split()


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("head/rely", "did you mean head/relu?"),
        ("op:Sigmoyd", "did you mean op:Sigmoid?"),
        ("op:relu", "did you mean op:Relu?"),
        ("re:head", "did you mean head/gate?"),
        ("zzzzzzzz", ""),
    ],
)
def test_typos(graph: ir.Model, pattern: str, hint: str) -> None:
    with pytest.raises(UsageError, match="matches no node") as caught:
        select_nodes(graph, ["tail", pattern])
    assert caught.value.hint in (hint, hint.replace("gate", "relu"))


def test_an_expression_that_is_none(graph: ir.Model) -> None:
    with pytest.raises(UsageError, match="not a regular expression"):
        select_nodes(graph, ["re:("])


def test_two_nodes_of_one_name_are_both_found(graph: ir.Model) -> None:
    for node in graph.graph:
        node.name = "same"
    assert len(select_nodes(graph, ["same"])["same"]) == 4


@pytest.mark.parametrize(
    ("pattern", "outputs"),
    [
        ("head/relu..tail", "a b c"),
        ("head/gate..y", "b c y"),
        ("tail..tail", "c"),
        ("op:Sigmoid..op:Neg", "b c y"),
        ("head/*..tail", "a b c"),
    ],
)
def test_between(graph: ir.Model, pattern: str, outputs: str) -> None:
    found = select_nodes(graph, [pattern])
    assert [node.outputs[0].name for node in found[pattern]] == outputs.split()


def test_between_takes_what_lies_on_a_way_only() -> None:
    text = """g (float[2] x) => (float[2] y, float[2] z) {
        a = Relu(x) b = Neg(a) c = Abs(a) d = Add(b, c) z = Exp(b) e = Cos(x) y = Add(d, e) }"""
    found = model(text)
    between = select_nodes(found, ["a..y"])["a..y"]
    assert [node.outputs[0].name for node in between] == ["a", "b", "c", "d", "y"]


def test_between_of_many_ways_takes_no_time() -> None:
    """Forty diamonds in a row: 2^40 ways."""
    steps = " ".join(
        f"b{i} = Neg(a{i}) c{i} = Abs(a{i}) a{i + 1} = Add(b{i}, c{i})" for i in range(40)
    )
    found = model(f"g (float[2] a0) => (float[2] a40) {{ {steps} }}")
    assert len(select_nodes(found, ["b0..a40"])["b0..a40"]) == 1 + 1 + 39 * 3


def test_names_with_dots_and_wrong_directions(graph: ir.Model) -> None:
    with pytest.raises(UsageError, match="no way leads from 'tail' to 'head/relu'"):
        select_nodes(graph, ["tail..head/relu"])
    with pytest.raises(UsageError, match="'tial' matches no node") as caught:
        select_nodes(graph, ["head/relu..tial"])
    assert caught.value.hint == "did you mean tail?"
    graph.graph[0].name = "block..1"
    assert len(select_nodes(graph, ["block..1"])["block..1"]) == 1
