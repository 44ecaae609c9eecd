"""Simple operators against onnx.reference, byte for byte."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from q8tool.ops.simple import SIMPLE, simple_results
from tests.build import model_of, node

Array = NDArray[Any]


def row(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 20, shape).astype(np.float32)


ROW = np.concatenate(
    [np.linspace(-90, 90, 2001), np.linspace(-1, 1, 501), [0.0, -0.0, 1e-38, -1e-30]]
).astype(np.float32)
TABLE = row(5, 3, 4, 2)
CODES = np.random.default_rng(6).integers(0, 256, (3, 4, 2), np.uint8)
SCALES = np.asarray([0.1, 3.7, 1e-8, 2e20], np.float32)
BIAS = np.asarray([-(2**31), 2**31 - 1, 16777217, -3], np.int32)


def numbers(*values: int) -> Array:
    return np.asarray(values, np.int64)


CASES: list[tuple[str, list[Array], dict[str, Any]]] = [
    ("Sigmoid", [ROW], {}),
    ("Sigmoid", [np.asarray(0.3, np.float32)], {}),
    ("Erf", [ROW], {}),
    ("Tanh", [ROW], {}),
    ("Exp", [ROW], {}),
    ("Neg", [ROW], {}),
    ("Sqrt", [np.abs(ROW)], {}),
    ("Add", [ROW, np.asarray(0.1, np.float32)], {}),
    ("Sub", [numbers(3, 2**62), numbers(5, -(2**62))], {}),
    ("Mul", [ROW, ROW], {}),
    ("Div", [ROW, np.asarray(1.4142135, np.float32)], {}),
    ("Equal", [numbers(1, -1, 3), numbers(1, 1, 3)], {}),
    ("Where", [np.array([True, False]), numbers(1, 2), numbers(3, 4)], {}),
    ("Gather", [TABLE, numbers(1, -1)], {"axis": 1}),
    ("Gather", [TABLE, np.asarray(2, np.int64)], {}),
    ("GatherND", [TABLE, numbers(0, 1, 2, 3).reshape(2, 1, 2)], {}),
    ("GatherND", [TABLE, numbers(2, 0).reshape(2, 1)], {}),
    ("Unsqueeze", [TABLE, numbers(0, -1)], {}),
    ("Squeeze", [TABLE.reshape(1, 24, 1), numbers(0, 2)], {}),
    ("Concat", [TABLE, TABLE[:1]], {"axis": 0}),
    ("Reshape", [TABLE, numbers(0, -1)], {}),
    ("Expand", [TABLE[:, :1], numbers(2, 1, 4, 1)], {}),
    ("ConstantOfShape", [numbers(2, 3)], {}),
    ("DequantizeLinear", [CODES, np.asarray(0.1, np.float32), np.asarray(7, np.uint8)], {}),
    ("DequantizeLinear", [CODES, SCALES], {"axis": -2}),
    ("DequantizeLinear", [BIAS, SCALES, np.zeros(4, np.int32)], {"axis": 0}),
    ("Shape", [TABLE], {}),
    ("Shape", [np.asarray(1, np.float32)], {}),
]


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), CASES)
def test_same_bytes(op_type: str, inputs: list[Array], attributes: dict[str, Any]) -> None:
    (found,) = simple_results(op_type, attributes, inputs) or []
    feeds: dict[str, Array] = {f"x{i}": value for i, value in enumerate(inputs)}
    single = node(op_type, " ".join(feeds), "y", **attributes)
    opset = 19 if op_type == "DequantizeLinear" else 17  # the first that onnx.reference has
    model = model_of([single], {"x0": feeds.pop("x0")}, feeds, ["y"], opset)
    with np.errstate(all="ignore"):
        results: Any = ReferenceEvaluator(model).run(None, {"x0": inputs[0]})
    expected = np.asarray(results[0])
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def test_every_simple_operator_has_a_case() -> None:
    assert {op_type for op_type, _, _ in CASES} == SIMPLE


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [
        ("Frobnicate", [ROW]),
        ("Add", [ROW, numbers(1)]),
        ("Add", [ROW, ROW[:7]]),
        ("Div", [numbers(7), numbers(2)]),
        ("Sigmoid", [ROW.astype(np.float64)]),
        ("Gather", [TABLE, numbers(3)]),
        ("Squeeze", [TABLE, numbers(0)]),
        ("Squeeze", [TABLE]),
        ("Reshape", [TABLE, numbers(5)]),
        ("Concat", [TABLE, TABLE]),
        ("ConstantOfShape", [numbers(-1)]),
        ("DequantizeLinear", [CODES, np.asarray(0.5, np.float16)]),
        ("DequantizeLinear", [CODES[:, :3], SCALES]),
        ("DequantizeLinear", [CODES[:, :1], SCALES]),
    ],
)
def test_others_are_for_others(op_type: str, inputs: list[Array]) -> None:
    assert simple_results(op_type, {}, inputs) is None
