"""Inputs that a plan is built for the values of: sizes, axes, bounds, weights."""

import numpy as np
import pytest

from q8tool import Session
from q8tool.errors import UnsupportedError
from tests.graphs import f32, i64, proto, random

RESHAPE = "g (float[2,6] x, int64[2] shape) => (float[a,b] y) { y = Reshape(x, shape) }"
CONV = "g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,3,3] y) { y = Conv(x, w) }"


def is_native(session: Session) -> bool:
    return all(step.dtype != "host" for step in session.explain())


def test_a_shape_of_the_caller() -> None:
    session, x = Session(proto(RESHAPE)), random(2, 6)
    for shape in ([3, 4], [4, 3], [3, 4], [-1, 2]):
        result = session.run({"x": x, "shape": i64(shape)})["y"]
        np.testing.assert_array_equal(result, x.reshape(shape))
        assert is_native(session)


def test_values_that_change_with_every_run_end_on_the_host() -> None:
    text = "g (float[4] x, float high) => (float[4] y) { y = Clip(x, , high) }"
    session, x = Session(proto(text)), random(4)
    for step in range(40):
        high = np.float32(step / 20)
        result = session.run({"x": x, "high": high})["y"]
        np.testing.assert_array_equal(result, np.minimum(x, high))
    assert not is_native(session)


def test_weights_of_the_caller() -> None:
    session, x = Session(proto(CONV)), random(1, 2, 5, 5)
    for seed in range(3):
        w = random(3, 2, 3, 3, seed=seed)
        windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
        expected = np.einsum("chwij,ocij->ohw", windows, w)[None]
        np.testing.assert_allclose(session.run({"x": x, "w": w})["y"], expected, atol=1e-5)
        assert is_native(session)


def test_a_default_may_be_replaced() -> None:
    text = "g (float[2,6] x, int64[2] shape) => (float[a,b] y) { y = Reshape(x, shape) }"
    session, x = Session(proto(text, 13, shape=i64([3, 4]))), random(2, 6)
    assert session.run({"x": x})["y"].shape == (3, 4)
    assert session.run({"x": x, "shape": i64([6, 2])})["y"].shape == (6, 2)
    assert session.run({"x": x})["y"].shape == (3, 4)


def test_a_parameter_may_be_a_result_too() -> None:
    text = """g (float[2] x, float high) => (float[2] y, float same, float more)
        { y = Clip(x, , high) same = Identity(high) more = Add(high, high) }"""
    session = Session(proto(text))
    for high in (f32(0.5), f32(0.25)):
        results = session.run({"x": f32([1, 0.1]), "high": high})
        assert results["y"].tolist() == [high, f32(0.1)]
        assert results["same"] == high
        assert results["more"] == high * 2


def test_strict_looks_when_the_values_are_there() -> None:
    session = Session(proto(RESHAPE), strict=True)
    assert session.run({"x": random(2, 6), "shape": i64([12, 1])})["y"].shape == (12, 1)
    text = """g (float[2,6] x, int64[2] shape) => (float[a,b] y)
        { z = Reshape(x, shape) y = Tan(z) }"""
    with pytest.raises(UnsupportedError, match="Tan"):
        Session(proto(text), strict=True).run({"x": random(2, 6), "shape": i64([3, 4])})
