"""Shapes that only the run tells: what lies behind them runs in C, with onnxruntime's answers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from q8tool import Session
from q8tool.errors import UnsupportedError
from tests.graphs import Array, f32, i64, proto, random, u8

# A range as long as the input says decides how many rows the product has.
LENGTHS = """g (float[1,4] x, int64[K] lengths) => (float[N,3] y) {
    longest = ReduceMax<keepdims=0>(lengths)
    steps = Range(zero, longest, one)
    real = Cast<to=1>(steps)
    column = Unsqueeze(real, last)
    rows = Mul(column, x)
    y = MatMul(rows, w) }"""
# As many rows as have a positive sum.
COUNTED = """g (float[6,4] x) => (float[N,3] y, float[6,4] z, float[3,N] t) {
    z = Relu(x)
    total = ReduceSum<keepdims=0>(x, last)
    kept = Greater(total, nothing)
    found = NonZero(kept)
    places = Transpose(found)
    rows = GatherND(z, places)
    y = MatMul(rows, w)
    t = Transpose(y) }"""
CODED = """g (uint8[6,4] x, int64[1] n) => (uint8[A,3] y) {
    real = DequantizeLinear(x, scale, zero)
    twice = Add(n, n)
    rows = Slice(real, none, twice)
    weights = DequantizeLinear(w, scale, zero)
    product = MatMul(rows, weights)
    y = QuantizeLinear(product, wide, zero) }"""


def lengths() -> onnx.ModelProto:
    return proto(LENGTHS, 13, zero=np.array(0), one=np.array(1), last=i64([1]), w=random(4, 3))


def counted() -> onnx.ModelProto:
    return proto(COUNTED, 13, last=i64([1]), nothing=f32(0.0), w=random(4, 3))


def answers(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    return list(onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds))


def check(model: onnx.ModelProto, session: Session, feeds: dict[str, Array]) -> None:
    wanted = answers(model, feeds)
    for array, (name, ours) in zip(wanted, session.run(feeds).items(), strict=True):
        assert (array.shape, array.dtype) == (ours.shape, ours.dtype), name
        np.testing.assert_allclose(ours, array, rtol=1e-5, atol=1e-6)


def on_host(session: Session) -> set[str]:
    return {step.op for step in session.explain() if step.dtype == "host"}


def test_a_computed_length_is_known_when_the_rest_is_compiled() -> None:
    model = lengths()
    session = Session(model)
    assert "MatMul" in on_host(session)  # nothing has told the length yet
    for longest in (5, 2, 5, 9):
        check(model, session, {"x": random(1, 4), "lengths": i64([1, longest, 2])})
        assert not {"MatMul", "Range", "Mul", "Cast"} & on_host(session)


def test_more_lengths_than_plans_are_built_for() -> None:
    model = lengths()
    session = Session(model)
    for longest in range(1, 40):
        check(model, session, {"x": random(1, 4), "lengths": i64([longest])})
    assert "MatMul" not in on_host(session)


def test_a_count_of_what_was_found() -> None:
    model = counted()
    session = Session(model)
    for seed in range(4):
        check(model, session, {"x": random(6, 4, seed=seed)})
        assert on_host(session) == {"NonZero"}


def test_nothing_was_found() -> None:
    model = counted()
    check(model, Session(model), {"x": -np.abs(random(6, 4))})


def test_results_are_the_callers_own() -> None:
    session = Session(counted())
    feeds = {"x": random(6, 4)}
    before = session.run(feeds)
    kept = {name: array.copy() for name, array in before.items()}
    for array in before.values():
        array += 1
    after = session.run(feeds)
    for name, array in kept.items():
        np.testing.assert_array_equal(after[name], array)


def test_values_on_both_sides_are_observed() -> None:
    session = Session(counted(), observe=["total", "rows", "x"])
    x = random(6, 4)
    got = session.run({"x": x})
    np.testing.assert_allclose(got["total"], x.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(got["rows"], np.maximum(x, 0)[x.sum(axis=1) > 0])
    np.testing.assert_array_equal(got["x"], x)


def test_codes_stay_codes_across_the_cut() -> None:
    model = proto(
        CODED, 13, none=i64([0]), scale=f32(0.5), wide=f32(40.0), zero=u8(3),
        w=np.arange(12, dtype=np.uint8).reshape(4, 3) * 20,
    )  # fmt: skip
    session = Session(model)
    x = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)
    for n in (1, 3, 2):
        feeds = {"x": x, "n": i64([n])}
        np.testing.assert_array_equal(session.run(feeds)["y"], answers(model, feeds)[0])
        assert [s.dtype for s in session.explain() if "MatMul" in s.op] == ["u8"]


def test_a_sequence_between_them() -> None:
    model = proto(
        """g (float[6,4] x, int64[K] parts) => (float[N,3] y) {
        s = SplitToSequence<axis=0>(x, parts)
        part = SequenceAt(s, one)
        y = MatMul(part, w) }""", 13, one=np.array(1), w=random(4, 3),
    )  # fmt: skip
    session = Session(model)
    for parts in ([2, 4], [1, 2, 3]):
        check(model, session, {"x": random(6, 4), "parts": i64(parts)})
        assert "MatMul" not in on_host(session)


def test_more_cuts_than_stages() -> None:
    links = "".join(
        f"f{i} = NonZero(x{i}) p{i} = Transpose(f{i}) g{i} = GatherND(x{i}, p{i}) "
        f"r{i} = Unsqueeze(g{i}, last) m{i} = MatMul(r{i}, w) x{i + 1} = Relu(m{i}) "
        for i in range(12)
    )
    text = f"g (float[2,2] x0) => (float[N,2] y) {{ {links} y = Neg(x12) }}"
    model = proto(text, 13, last=i64([1]), w=f32([[0.5, -0.5]]))
    check(model, Session(model), {"x0": f32([[1, 2], [-3, 4]])})


def test_strict_refuses() -> None:
    with pytest.raises(UnsupportedError, match="NonZero"):
        Session(counted(), strict=True)


def test_profile_times_every_step_of_both_stages() -> None:
    session = Session(counted())
    steps = session.profile({"x": random(6, 4)})
    assert [step.op for step in steps] == [step.op for step in session.explain()]
    assert all(step.nanoseconds >= 0 for step in steps)


def test_threads_with_lengths_of_their_own() -> None:
    model = lengths()
    session, gate = Session(model), threading.Barrier(4)

    def runs(first: int) -> None:
        gate.wait()
        for longest in range(first, first + 6):
            check(model, session, {"x": random(1, 4), "lengths": i64([longest])})

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(runs, first) for first in (1, 2, 3, 4)]:
            done.result()
