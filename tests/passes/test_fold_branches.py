"""fold_branches: what an If of constant condition computes, without the If."""

import numpy as np
import pytest

from q8tool.model.check import check
from q8tool.passes.fold_branches import fold_branches
from q8tool.passes.simplify import simplify
from tests.graphs import assert_same, f32, model, ops, random

TEXT = """g (float[1,3] x) => (float[n,m] y, float[n,m] z) {
    t = Neg(x)
    y, s = If(c) <
        then_branch = a () => (float[n,m] p, float[n,m] q) <float[1] k = {2.0}>
            { t1 = Mul(t, k)  p = Add(t1, w)  q = Identity(t1) },
        else_branch = e () => (float[n,m] p2, float[n,m] q2) {
            t1 = Abs(t) p2 = Neg(t1) q2 = Exp(t) }>
    z = Relu(s) }"""


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_stays_and_the_if_goes(condition: bool) -> None:
    before = model(TEXT, c=np.array([condition]), w=f32([[1, 2, 3]]))
    after = before.clone()
    assert [change.node for change in fold_branches(after)] == ["If 'y'"]
    assert "If" not in ops(after)
    assert fold_branches(after) == []
    check(after, "model")
    assert [value.name for value in after.graph.outputs] == ["y", "z"]
    assert_same(before, after, x=random(1, 3))


def test_branches_in_branches_and_captured_values() -> None:
    text = """g (float[2] x, bool b) => (float[2] y) {
        r = If(c) <
            then_branch = a () => (float[2] p) {
                p = If(c) <then_branch = d () => (float[2] i) { i = Identity(x) },
                           else_branch = f () => (float[2] j) { j = Neg(x) }> },
            else_branch = e () => (float[2] q) { q = Abs(x) }>
        y = If(b) <then_branch = h () => (float[2] i) { i = Neg(r) },
                   else_branch = k () => (float[2] q) { q = Add(r, r) }> }"""
    before = model(text, c=np.array(True))
    after = before.clone()
    simplify(after)
    check(after, "model")
    assert ops(after) == ["If"]
    for choice in (True, False):
        assert_same(before, after, x=random(2), b=np.array(choice))
