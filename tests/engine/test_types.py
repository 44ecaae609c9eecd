"""Types besides float32 and codes: half floats, integers, float64, nothing at all, sequences."""

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime

HALVES = [np.float16, ml_dtypes.bfloat16]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-2, 3, shape).astype(np.float32)


def results_in_c(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    return list(Session(model, 1, strict=True).run(feeds).values())


# ---- half floats ----


@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_a_network_of_half_floats_runs_in_c(dtype: Any) -> None:
    x, w = numbers(1, 3, 9, 8).astype(dtype), numbers(4, 3, 3, 3, seed=1).astype(dtype)
    nodes = [
        node("Conv", "x w b", "c"),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "m", kernel_shape=[2, 2]),
        node("Transpose", "m", "t", perm=[0, 2, 3, 1]),
        node("Mul", "t half", "y"),
    ]
    weights = {"w": w, "b": numbers(4).astype(dtype), "half": np.asarray(0.3, dtype)}
    model = model_of(nodes, {"x": x}, weights, ["y", "r"], opset=22)
    wide = model_of(
        nodes,
        {"x": x.astype(np.float32)},
        {name: array.astype(np.float32) for name, array in weights.items()},
        ["y"],
        opset=22,
    )
    expected = run_onnxruntime(wide, {"x": x.astype(np.float32)})[0]
    y, r = results_in_c(model, {"x": x})
    assert y.dtype == r.dtype == dtype
    step = 2.0**-10 if dtype == np.float16 else 2.0**-7
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=2 * step, atol=step)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_each_result_is_rounded_to_its_type(op: str, dtype: Any) -> None:
    """The sum of three, in which a float32 between the two would show."""
    a, b, c = (numbers(200, seed=seed).astype(dtype) for seed in range(3))
    nodes = [node(op, "a b", "s"), node(op, "s c", "y")]
    model = model_of(nodes, {"a": a, "b": b, "c": c}, {}, ["y"], opset=22)
    feeds = {"a": a, "b": b, "c": c}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    (y,) = results_in_c(model, feeds)
    np.testing.assert_array_equal(y.view(np.uint16), np.asarray(expected).view(np.uint16))


def test_codes_with_half_float_scales_stay_codes() -> None:
    x, w = numbers(1, 3, 9, 8).astype(np.float16), numbers(4, 3, 3, 3, seed=1)
    codes = np.clip(np.rint(w * 40), -127, 127).astype(np.int8)
    weights = {
        "s": np.asarray(0.02, np.float16), "z": np.asarray(100, np.uint8), "w": codes,
        "ws": np.asarray(0.025, np.float16), "wz": np.asarray(0, np.int8),
        "ys": np.asarray(0.2, np.float16), "yz": np.asarray(120, np.uint8),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "wd"),
        node("Conv", "d wd", "c"),
        node("QuantizeLinear", "c ys yz", "y"),
    ]
    session = Session(model_of(nodes, {"x": x}, weights, ["y"], opset=19), 1, strict=True)
    y = session.run({"x": x})["y"]
    kernels = [step.kernel for step in session.explain()]
    assert any(kernel.startswith("conv ") and "f32" not in kernel for kernel in kernels)
    (expected,) = ReferenceEvaluator(model_of(nodes, {"x": x}, weights, ["y"], opset=19)).run(
        None, {"x": x}
    )
    assert np.abs(y.astype(int) - np.asarray(expected).astype(int)).max() <= 1


# ---- integers ----


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.float64])
def test_arithmetic_in_its_own_type(dtype: Any) -> None:
    a, b = (np.random.default_rng(s).integers(1, 100, (3, 4)).astype(dtype) for s in (0, 1))
    nodes = [
        node("Add", "a b", "s"),
        node("Mul", "s b", "m"),
        node("Sub", "m row", "d"),
        node("Max", "d a b", "x"),
        node("Clip", "x low high", "y"),
    ]
    weights = {"row": b[0], "low": np.asarray(5, dtype), "high": np.asarray(90, dtype)}
    model = model_of(nodes, {"a": a, "b": b}, weights, ["y"])
    with np.errstate(all="ignore"):
        expected = np.clip(np.maximum(np.maximum((a + b) * b - b[0], a), b), dtype(5), dtype(90))
    np.testing.assert_array_equal(results_in_c(model, {"a": a, "b": b})[0], expected)


# ---- nothing, and what is no tensor ----


def test_parts_without_elements() -> None:
    x = numbers(4, 3)
    nodes = [
        node("Split", "x sizes", "none all", axis=0),
        node("Concat", "none all none", "joined", axis=0),
        node("Transpose", "none", "turned"),
        node("Add", "turned turned", "sum"),
    ]
    weights = {"sizes": np.array([0, 4], np.int64)}
    model = model_of(nodes, {"x": x}, weights, ["joined", "sum"])
    joined, total = results_in_c(model, {"x": x})
    np.testing.assert_array_equal(joined, x)
    assert total.shape == (3, 0)
    assert total.dtype == np.float32


def test_a_fed_tensor_without_elements() -> None:
    model = helper.make_model(
        helper.make_graph(
            [node("Relu", "x", "r"), node("Add", "r r", "y")],
            "empty",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    session = Session(model, 1)
    for count in (0, 2, 0):
        x = numbers(count, 3)
        y = session.run({"x": x})["y"]
        np.testing.assert_array_equal(y, 2 * np.maximum(x, 0))


def test_a_sequence_through_identity() -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model = helper.make_model(
        helper.make_graph(
            [node("Identity", "x", "y")],
            "sequence",
            [helper.make_value_info("x", kind)],
            [helper.make_value_info("y", kind)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    fed: Any = [numbers(2), numbers(3)]
    given_back: Any = Session(model, 1, strict=True).run({"x": fed})["y"]
    assert given_back is not fed
    for found, wanted in zip(given_back, fed, strict=True):
        np.testing.assert_array_equal(found, wanted)


# ---- where maxima lie ----


@pytest.mark.parametrize("column_major", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8])
def test_indices_of_maxima(dtype: Any, column_major: int) -> None:
    x = np.random.default_rng(0).integers(0, 100, (2, 3, 8, 7)).astype(dtype)
    window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2]}
    pool = node("MaxPool", "x", "y at", storage_order=column_major, **window)
    model = model_of([pool], {"x": x}, {}, ["y", "at"])
    for found, wanted in zip(
        results_in_c(model, {"x": x}), run_onnxruntime(model, {"x": x}), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


# ---- LayerNormalization's further outputs ----


def test_mean_and_deviation() -> None:
    x = numbers(2, 3, 4, 5)
    norm = node("LayerNormalization", "x scale bias", "y mean inverse", axis=2)
    weights = {"scale": numbers(4, 5, seed=1), "bias": numbers(4, 5, seed=2)}
    model = model_of([norm], {"x": x}, weights, ["y", "mean", "inverse"])
    for found, wanted in zip(
        results_in_c(model, {"x": x}), ReferenceEvaluator(model).run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# ---- conversions in parts ----


def conversion_case(dtype: Any, axis: int | None, block: int = 0) -> onnx.ModelProto:
    """x to codes and back."""
    shape: tuple[int, ...] = () if axis is None else (6,)
    if block:
        shape = (4, 6 // block, 5)
    scale = np.random.default_rng(1).uniform(0.01, 0.05, shape).astype(np.float32)
    limits = np.iinfo(dtype)
    zero = np.random.default_rng(2).integers(limits.min, limits.max, shape, dtype)
    attributes = {} if axis is None else {"axis": axis}
    if block:
        attributes["block_size"] = block
    nodes = [
        node("QuantizeLinear", "x s z", "q", **attributes),
        node("DequantizeLinear", "q s z", "y", **attributes),
    ]
    x = numbers(4, 6, 5)
    return model_of(nodes, {"x": x}, {"s": scale, "z": np.asarray(zero)}, ["q", "y"], opset=21)


@pytest.mark.parametrize(("axis", "block"), [(None, 0), (1, 0), (-2, 0), (1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_conversions_of_any_codes_run_in_c(dtype: Any, axis: int | None, block: int) -> None:
    if axis is None and np.dtype(dtype).itemsize == 1:
        pytest.skip("a kernel of its own")
    model = conversion_case(dtype, axis, block)
    x = 2000 * numbers(4, 6, 5)
    x.ravel()[:4] = np.nan, np.inf, -np.inf, 0
    wide = numbers(4, 6, 5)
    for feeds in ({"x": wide}, {"x": x}):
        y, back = results_in_c(model, feeds)
        expected = run_onnxruntime(model, {"x": np.nan_to_num(feeds["x"], nan=-np.inf)})
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(back, expected[1])
