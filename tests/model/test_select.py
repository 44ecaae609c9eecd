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
