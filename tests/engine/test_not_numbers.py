"""What is no number stays none, as in onnxruntime: limits must not hide a model's breakdown."""

from typing import Any

import numpy as np
import pytest

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime

GENERATOR = np.random.default_rng(8)
PICTURE = GENERATOR.standard_normal((1, 8, 12, 12)).astype(np.float32)
PICTURE[0, 3, 4, 5] = np.nan
PICTURE[0, 1:3, 9, 9] = np.inf, -np.inf
ROWS = PICTURE.reshape(96, 12)


def weights(*shape: int) -> Array:
    return GENERATOR.standard_normal(shape).astype(np.float32)


CASES: dict[str, tuple[list[Any], Array, dict[str, Array]]] = {
    "conv": ([node("Conv", "x w", "y", pads=[1] * 4)], PICTURE, {"w": weights(16, 8, 3, 3)}),
    "conv 1x1": ([node("Conv", "x w", "y")], PICTURE, {"w": weights(16, 8, 1, 1)}),
    "conv relu": (
        [node("Conv", "x w", "c"), node("Relu", "c", "y")], PICTURE, {"w": weights(16, 8, 3, 3)},
    ),
    "depthwise": ([node("Conv", "x w", "y", group=8)], PICTURE, {"w": weights(8, 1, 3, 3)}),
    "depthwise clip": (
        [node("Conv", "x w", "c", group=8), node("Clip", "c low high", "y")], PICTURE,
        {"w": weights(8, 1, 5, 5), "low": np.array(0, np.float32),
         "high": np.array(6, np.float32)},
    ),
    "matmul": ([node("MatMul", "x w", "y")], ROWS, {"w": weights(12, 16)}),
    "gemm relu": (
        [node("Gemm", "x w", "c"), node("Relu", "c", "y")], ROWS, {"w": weights(12, 5)},
    ),
    "relu": ([node("Relu", "x", "y")], ROWS, {}),
    "clip": (
        [node("Clip", "x low high", "y")], ROWS,
        {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)},
    ),
    "hard sigmoid": ([node("HardSigmoid", "x", "y")], ROWS, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_not_a_number(name: str, isa: str) -> None:
    nodes, x, constants = CASES[name]
    model = model_of(nodes, {"x": x}, constants, ["y"])
    (want,) = run_onnxruntime(model, {"x": x})
    assert np.isnan(want).any()
    got = Session(model, strict=True).run({"x": x})["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_what_is_not_above_a_threshold_is_zero(isa: str) -> None:
    model = model_of([node("ThresholdedRelu", "x", "y")], {"x": ROWS}, {}, ["y"])
    (want,) = run_onnxruntime(model, {"x": ROWS})
    np.testing.assert_array_equal(Session(model, strict=True).run({"x": ROWS})["y"], want)
