"""Branches that are known before anything runs: onnxruntime's answers, and nothing on the host."""

import numpy as np
import onnx
import onnxruntime
import pytest

from q8tool import Session
from tests.graphs import Array, f32, proto, random

CHOICE = """g (float[N,4] x, float[P,4] past, bool use) => (float[M,4] y, float[M,3] z) {
    h = Relu(x)
    y = If(use) <
        then_branch = a () => (float[A,4] p) { p = Concat<axis=0>(past, h) },
        else_branch = b () => (float[B,4] q) { r = Neg(h) q = Add(r, k) }>
    z = MatMul(y, w) }"""


def answers(model: onnx.ModelProto, session: Session, feeds: dict[str, Array]) -> None:
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    got = session.run(feeds)
    for array, (name, ours) in zip(wanted, got.items(), strict=True):
        assert array.shape == ours.shape, name
        np.testing.assert_allclose(ours, array, rtol=1e-5, atol=1e-6)


def on_host(session: Session) -> list[str]:
    return [step.op for step in session.explain() if step.dtype == "host"]


def test_an_input_decides_and_changes_its_mind() -> None:
    model = proto(CHOICE, 13, k=f32([1, 2, 3, 4]), w=random(4, 3))
    session = Session(model)
    for use in (True, False, True):
        feeds = {"x": random(2, 4), "past": random(3, 4), "use": np.array(use)}
        answers(model, session, feeds)
        assert on_host(session) == []


def test_a_number_decides_by_way_of_a_comparison() -> None:
    model = proto(
        """g (float[2,4] x, int64 rate) => (float[2,N] y) {
        o = Constant<value = int64 {16000}>()  c = Equal(rate, o)
        y = If(c) <then_branch = a () => (float[2,4] p) { p = Mul(x, x) },
                   else_branch = b () => (float[2,8] q) { q = Concat<axis=1>(x, x) }> }"""
    )
    session = Session(model)
    for rate in (8000, 16000):
        answers(model, session, {"x": random(2, 4), "rate": np.array(rate)})
        assert "If" not in on_host(session)


def test_a_shape_decides_and_branches_are_nested() -> None:
    model = proto(
        """g (float[N,M] x) => (float[A] y) {
        s = Shape(x)  one = Constant<value = int64 {1}>()  zero = Constant<value = int64 {0}>()
        n = Gather(s, zero)  m = Gather(s, one)  c = Equal(n, one)  d = Equal(m, one)
        y = If(c) <then_branch = a () => (float[B] p) {
                p = If(d) <then_branch = e () => (float[C] t) { f = Constant<value_ints=[-1]>()
                                                              u = Reshape(x, f) t = Neg(u) },
                           else_branch = h () => (float[D] v) { v = Squeeze(x) }> },
                   else_branch = b () => (float[E] q) { q = ReduceSum<keepdims=0>(x, ones) }> }""",
        13,
        ones=np.array([1]),
    )
    session = Session(model)
    for shape in ((1, 5), (1, 1), (3, 4)):
        answers(model, session, {"x": random(*shape)})
        assert on_host(session) == []


def test_a_branch_may_give_what_is_outside_of_it() -> None:
    model = proto(
        """g (float[2,3] x, bool use) => (float[2,3] y) {
        h = Relu(x)
        y = If(use) <then_branch = a () => (float[2,3] h2) { h2 = Identity(h) },
                     else_branch = b () => (float[2,3] n) { n = Neg(x) }> }"""
    )
    branch = model.graph.node[1].attribute[0].g
    del branch.node[:]
    branch.output[0].name = "h"
    session = Session(model)
    for use in (True, False):
        x = random(2, 3)
        got = session.run({"x": x, "use": np.array(use)})["y"]
        np.testing.assert_array_equal(got, np.maximum(x, 0) if use else -x)


def test_names_that_two_branches_share() -> None:
    both = "then_branch = a () => (float[2] p) { p = Neg(x) }, "
    both += "else_branch = b () => (float[2] p) { p = Abs(x) }"
    model = proto(
        f"g (float[2] x, bool c, bool d) => (float[2] y, float[2] z) "
        f"{{ y = If(c) <{both}> z = If(d) <{both}> }}"
    )
    session = Session(model)
    for c, d in ((True, True), (False, True), (False, False)):
        answers(model, session, {"x": f32([-1, 2]), "c": np.array(c), "d": np.array(d)})


@pytest.mark.parametrize("count", [40])
def test_a_number_that_is_never_the_same(count: int) -> None:
    """Plans are built for some values; then the If runs on the host."""
    model = proto(
        """g (float[2] x, int64 step) => (float[2] y) {
        o = Constant<value = int64 {3}>()  c = Less(step, o)
        y = If(c) <then_branch = a () => (float[2] p) { p = Neg(x) },
                   else_branch = b () => (float[2] q) { q = Abs(x) }> }"""
    )
    session = Session(model)
    for step in range(count):
        got = session.run({"x": f32([-1, 2]), "step": np.array(step)})["y"]
        np.testing.assert_array_equal(got, [1, -2] if step < 3 else [1, 2])
