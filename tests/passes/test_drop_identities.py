"""drop_identities: copies go, names of outputs stay."""

import numpy as np
import pytest

from q8tool.passes.drop_identities import drop_identities
from tests.graphs import assert_same, f32, model, ops, random


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Identity(x)  y = Relu(a)", ["Relu"]),
        ("a = Relu(x)  y = Identity(a)", ["Relu"]),
        ("a = Dropout(x)  b = Identity(a)  y = Relu(b)", ["Relu"]),
        ("a = Dropout(x, ratio)  y = Relu(a)", ["Relu"]),
        ("a = Dropout(x, ratio, off)  y = Relu(a)", ["Relu"]),
    ],
)
def test_copies_go(nodes: str, left: list[str]) -> None:
    before = model(
        f"g (float[2] x) => (float[2] y) {{ {nodes} }}", ratio=f32(0.5), off=np.array(False)
    )
    after = before.clone()
    drop_identities(after)
    assert ops(after) == left
    assert after.graph.outputs[0].name == "y"
    assert_same(before, after, x=random(2))
    assert drop_identities(after) == []


def test_two_outputs_that_copy_one_value_keep_both_names() -> None:
    text = """g (float[2] x) => (float[2] y, float[2] z) {
        a = Relu(x)  y = Identity(a)  z = Identity(a) }"""
    before = model(text)
    after = before.clone()
    drop_identities(after)
    assert ops(after) == ["Relu", "Identity"]
    assert [value.name for value in after.graph.outputs] == ["y", "z"]
    assert_same(before, after, x=random(2))


def test_a_branch_that_hands_on_an_outer_value_keeps_its_copy() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
        r = Relu(x)
        y = If (c) <then_branch = a () => (float[2] p) { p = Identity(r) },
                    else_branch = b () => (float[2] q) { q = Neg(r) }> }"""
    before = model(text)
    after = before.clone()
    assert drop_identities(after) == []
    assert_same(before, after, c=np.array(True), x=random(2))


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Identity(x)",  # a graph input as output
        "y = Identity(w)",  # a weight as output
        "a, m = Dropout(x)  k = Cast<to=1>(m)  y = Mul(a, k)",  # the mask is read
        "a = Dropout(x, ratio, on)  y = Relu(a)",  # training
    ],
)
def test_must_not_fire(nodes: str) -> None:
    graph = model(
        f"g (float[2] x) => (float[2] y) {{ {nodes} }}",
        w=random(2),
        ratio=f32(0.5),
        on=np.array(True),
    )
    before = ops(graph)
    assert drop_identities(graph) == []
    assert ops(graph) == before
