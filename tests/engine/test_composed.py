"""Operators that C runs in several steps, in float and of codes, beside onnxruntime."""

import numpy as np
import pytest

from q8tool import Session
from tests.build import Case, float_model, node, quantized_model, run_onnxruntime
from tests.graphs import f32, i64, random

VOLUME = {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 1, 0, 0, 1, 1]}
ENDS = [0, -0.0, 1e-44, -1e-44, 0.3, 0.30001, 3, -np.inf, np.inf]
WITH_CODES = [
    Case("average", [node("AveragePool", "x", "y", **VOLUME)], {"x": random(2, 3, 4, 5, 6)}),
    Case("max", [node("MaxPool", "x", "y", **VOLUME)], {"x": random(2, 3, 4, 5, 6)}),
    Case(
        "reverse",
        [node("ReverseSequence", "x n", "y", batch_axis=1, time_axis=0)],
        {"x": random(5, 3, 4)},
        {"n": i64([1, 5, 3])},
    ),
    Case(
        "gemm",
        [node("Gemm", "x z c", "y", transA=1, transB=1, alpha=0.5, beta=2.0)],
        {"x": random(6, 4), "z": random(5, 6), "c": random(4, 1)},
    ),
]
FLOAT_ONLY = [
    Case("sign", [node("Sign", "x", "y")], {"x": f32([ENDS])}),
    Case("threshold", [node("ThresholdedRelu", "x", "y", alpha=0.3)], {"x": f32([ENDS])}),
    Case("vector", [node("MatMul", "x z", "y")], {"x": random(6), "z": random(2, 3, 6, 5)}),
]


@pytest.mark.parametrize("case", [*WITH_CODES, *FLOAT_ONLY], ids=lambda case: case.name)
def test_float(case: Case) -> None:
    model = float_model(case)
    (result,) = Session(model, strict=True).run(case.inputs).values()
    np.testing.assert_allclose(result, run_onnxruntime(model, case.inputs)[0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", WITH_CODES, ids=lambda case: case.name)
def test_codes(case: Case, dtype: str) -> None:
    model = quantized_model(case, dtype)
    (result,) = Session(model, strict=True).run(case.inputs).values()
    expected = run_onnxruntime(model, case.inputs)[0]
    assert np.abs(result.astype(int) - expected).max() <= 1
