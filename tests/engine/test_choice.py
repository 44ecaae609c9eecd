"""Comparisons, truth values and choices in C against onnx.reference and onnxruntime."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime


def same_in_c(model: onnx.ModelProto, feeds: dict[str, Array]) -> None:
    """What the standard's evaluator gives, without a step on the host, on one thread and on two."""
    with np.errstate(all="ignore"):
        expected = ReferenceEvaluator(model).run(None, feeds)
    for threads in (1, 2):
        got = Session(model, threads, strict=True).run(feeds).values()
        for result, want in zip(got, expected, strict=True):
            assert result.dtype == np.asarray(want).dtype
            np.testing.assert_array_equal(result, want)


def few(dtype: Any, *shape: int, seed: int = 0) -> Array:
    low = 0 if np.dtype(dtype).kind in "ub" else -2
    high = 2 if dtype is np.bool_ else 3
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


TYPES = [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.bool_]


@pytest.mark.parametrize("op", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
@pytest.mark.parametrize("dtype", TYPES, ids=lambda t: t.__name__)
def test_comparisons(op: str, dtype: Any) -> None:
    if dtype is np.bool_ and op != "Equal":
        pytest.skip("the standard has no order of truth values")
    feeds = {"a": few(dtype, 2, 3, 4, 5), "b": few(dtype, 4, 1, seed=1)}
    same_in_c(model_of([node(op, "a b", "y")], feeds, {}, ["y"]), feeds)


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=3, min_side=1, max_dims=5),
    st.sampled_from(TYPES),
)
@settings(max_examples=40, deadline=None)
def test_where(found: hnp.BroadcastableShapes, dtype: Any) -> None:
    c, a, b = found.input_shapes
    feeds = {"c": few(np.bool_, *c), "a": few(dtype, *a), "b": few(dtype, *b, seed=1)}
    same_in_c(model_of([node("Where", "c a b", "y")], feeds, {}, ["y"]), feeds)


def test_logic_of_comparisons() -> None:
    """A mask as exporters of text models build it."""
    feeds = {"ids": few(np.int64, 2, 6), "x": few(np.float32, 2, 3, 6, 6)}
    nodes = [
        node("Equal", "ids pad", "is_pad"),
        node("Not", "is_pad", "is_word"),
        node("Unsqueeze", "is_word axes", "wide"),
        node("And", "wide causal", "seen"),
        node("Xor", "seen causal", "other"),
        node("Or", "seen other", "all"),
        node("Where", "all x low", "y"),
    ]
    weights = {
        "pad": np.asarray(0),
        "axes": np.array([1, 2]),
        "causal": np.tri(6, dtype=np.bool_),
        "low": np.asarray(-1e9, np.float32),
    }
    same_in_c(model_of(nodes, feeds, weights, ["y", "is_pad"], opset=17), feeds)


def test_a_choice_between_pictures_keeps_their_layout() -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 9, 8)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "p"),
        node("Greater", "p zero", "c"),
        node("Where", "c p zero", "r"),
        node("Conv", "r v", "y"),
    ]
    weights = {
        "w": np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32),
        "v": np.random.default_rng(2).normal(size=(2, 4, 3, 3)).astype(np.float32),
        "zero": np.zeros((), np.float32),
    }
    model = model_of(nodes, {"x": x}, weights, ["y"])
    session = Session(model, 1, strict=True)
    expected = run_onnxruntime(model, {"x": x})[0]
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-5, atol=1e-5)
    kernels = [info.kernel for info in session.explain()]
    assert not any(kernel.startswith("copy") for kernel in kernels[1:-1])


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-9, -1, 0, 2, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_triangles(upper: int, k: int, dtype: Any) -> None:
    feeds = {"x": few(dtype, 2, 4, 5) + np.asarray(3, dtype)}
    model = model_of([node("Trilu", "x k", "y", upper=upper)], feeds, {"k": np.asarray(k)}, ["y"])
    same_in_c(model, feeds)


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_rests(fmod: int, dtype: Any) -> None:
    a = few(dtype, 3, 40) * np.asarray(7, dtype)
    feeds = {"a": a, "b": few(dtype, 40, seed=3) * np.asarray(2, dtype) + np.asarray(5, dtype)}
    same_in_c(model_of([node("Mod", "a b", "y", fmod=fmod)], feeds, {}, ["y"]), feeds)


@pytest.mark.parametrize("op", ["Neg", "Abs"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_signs_of_integers(op: str, dtype: Any) -> None:
    feeds = {"x": few(dtype, 5, 7)}
    same_in_c(model_of([node(op, "x", "y")], feeds, {}, ["y"]), feeds)


@pytest.mark.parametrize("to", [np.bool_, np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.int64])
def test_casts_that_detectors_make(dtype: Any, to: Any) -> None:
    x = np.random.default_rng(0).uniform(0, 90, (3, 50)).astype(dtype)
    x[0, :9] = 0
    kind = {np.bool_: "BOOL", np.uint8: "UINT8", np.int32: "INT32", np.int64: "INT64"}[to]
    model = model_of([node("Cast", "x", "y", to=getattr(TensorProto, kind))], {"x": x}, {}, ["y"])
    same_in_c(model, {"x": x})
    like = model_of([node("CastLike", "x l", "y")], {"x": x}, {"l": np.zeros(1, to)}, ["y"])
    same_in_c(like, {"x": x})


def test_what_is_no_number() -> None:
    x = np.array([[0.0, np.nan, np.inf], [-np.inf, -0.0, np.nan]], np.float32)
    same_in_c(model_of([node("IsNaN", "x", "y")], {"x": x}, {}, ["y"]), {"x": x})


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceLogSum"])
@pytest.mark.parametrize("axes", [[0], [1, 2], [-1], [0, 2]])
def test_norms(op: str, axes: list[int]) -> None:
    x = np.random.default_rng(0).uniform(0.1, 3, (4, 5, 6)).astype(np.float32)
    x = x if op == "ReduceLogSum" else x - 1
    model = model_of([node(op, "x a", "y")], {"x": x}, {"a": np.array(axes)}, ["y"], opset=18)
    (got,) = Session(model, 1, strict=True).run({"x": x}).values()
    found: Any = ReferenceEvaluator(model).run(None, {"x": x})
    want = np.asarray(found[0])
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("last", [0, 1])
def test_least_places(axis: int, last: int) -> None:
    feeds = {"x": few(np.float32, 3, 4, 5)}
    attributes = {"axis": axis, "select_last_index": last, "keepdims": 0}
    same_in_c(model_of([node("ArgMin", "x", "y", **attributes)], feeds, {}, ["y"]), feeds)
