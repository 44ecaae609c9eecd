"""Many inputs through one session at the same time."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.errors import UsageError
from tests.graphs import f32, i64, proto, random

Array = np.ndarray[Any, Any]


def product() -> onnx.ModelProto:
    return proto(
        """g (float[1, 64] x) => (float[1, 64] y) {
            h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, w)
        }""",
        w=random(64, 64),
    )


def rows(count: int) -> list[Array]:
    return [np.full((1, 64), i, np.float32) for i in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_order_and_are_those_of_single_runs(threads: int) -> None:
    session, alone = Session(product(), threads=threads), Session(product(), threads=1)
    fed = ((i, {"x": x}) for i, x in enumerate(rows(40)))
    got = list(run_each(session, fed, lambda i, results: (i, results["y"]), ["y"]))
    assert [i for i, _ in got] == list(range(40))
    for (_, y), x in zip(got, rows(40), strict=True):
        np.testing.assert_array_equal(y, alone.run({"x": x})["y"])
    # The session is as good as before.
    np.testing.assert_array_equal(session.run({"x": rows(2)[1]})["y"], got[1][1])


def test_runs_go_on_at_the_same_time() -> None:
    """Each waits for the other's result: one after the other they would wait for ever."""
    meeting = threading.Barrier(2, timeout=60)
    fed = ((None, {"x": x}) for x in rows(4))
    got = run_each(Session(product(), threads=2), fed, lambda _, results: meeting.wait())
    assert sorted(got) == [0, 0, 1, 1]


def test_nothing_to_run() -> None:
    assert list(run_each(Session(product()), iter([]), lambda _, results: results)) == []


def test_an_error_of_one_run_ends_all() -> None:
    def fed() -> Iterator[tuple[None, dict[str, Array]]]:
        yield None, {"x": rows(1)[0]}
        yield None, {"x": np.zeros((1, 3), np.float32)}
        yield from ((None, {"x": x}) for x in rows(4))

    with pytest.raises(UsageError, match="shape"):
        list(run_each(Session(product(), threads=2), fed(), lambda _, results: results))


KEEPING = {
    "a range at run time": (
        """g (float[1, 262144] x) => (float[1, 4] y) {
            q, s, z = DynamicQuantizeLinear(x)  f = DequantizeLinear(q, s, z)
            t = Reshape(f, few)  y = ReduceMean <axes = [1], keepdims = 0> (t)
        }""",
        {"few": i64([1, 65536, 4])},
        (1, 262144),
    ),
    "a product of a range at run time": (
        """g (float[1, 64] x) => (float[1, 8] y) {
            q, s, z = DynamicQuantizeLinear(x)  a = MatMulInteger(q, w, z)
            f = Cast <to = 1> (a)  m = Mul(s, ws)  y = Mul(f, m)
        }""",
        {"w": np.random.default_rng(1).integers(-9, 9, (64, 8)).astype(np.int8), "ws": f32(0.5)},
        (1, 64),
    ),
    "states": (
        """g (float[40, 1, 8] x) => (float[40, 1, 1, 16] y) {
            y = LSTM <hidden_size = 16> (x, w, r)
        }""",
        {"w": random(1, 64, 8), "r": random(1, 64, 16)},
        (40, 1, 8),
    ),
}


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_numbers_of_a_run_is_run_one_by_one(name: str) -> None:
    """They lie in the plan, not in an arena."""
    text, weights, shape = KEEPING[name]
    model = proto(text, 13, **weights)
    session, alone = Session(model, threads=3), Session(model, threads=1)
    inputs = [random(*shape) * np.float32(i + 1) for i in range(30)]
    assert session.share({"x": inputs[0]}, 1 << 24) == 1
    fed = ((x, {"x": x}) for x in inputs)
    for x, y in run_each(session, fed, lambda x, results: (x, results["y"])):
        np.testing.assert_array_equal(y, alone.run({"x": x})["y"])


MULTIPLYING = {
    "floats": "y = MatMul(x, t)",
    "codes": """
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        p = QuantizeLinear(t, s, z)  e = DequantizeLinear(p, s, z)
        m = MatMul(d, e)  o = QuantizeLinear(m, so, z)  y = DequantizeLinear(o, so, z)
    """,
}


@pytest.mark.parametrize("name", MULTIPLYING)
def test_packed_factors_belong_to_a_run(name: str) -> None:
    """Both factors are made by the run: a run that multiplied another's gave others' answers."""
    model = proto(
        f"""g (float[6, 96, 96] x) => (float[6, 96, 96] y) {{
            t = Transpose <perm = [0, 2, 1]> (x)  {MULTIPLYING[name]}
        }}""",
        13,
        s=f32(0.03), so=f32(0.9), z=np.array(128, np.uint8),
    )  # fmt: skip
    session, alone = Session(model, threads=2), Session(model, threads=1)
    inputs = [random(6, 96, 96) * np.float32(i + 1) for i in range(60)]
    assert session.share({"x": inputs[0]}, 1 << 24) == 2
    fed = ((x, {"x": x}) for x in inputs)
    for x, y in run_each(session, fed, lambda x, results: (x, results["y"])):
        np.testing.assert_array_equal(y, alone.run({"x": x})["y"])
