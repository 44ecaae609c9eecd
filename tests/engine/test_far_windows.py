"""Windows that lie outside of their picture for the most part: the host takes what is inside."""

from typing import Any

import numpy as np
import pytest

from q8tool import Session
from tests.build import Array, Case, float_model, node, quantized_model, run_onnxruntime


def pool_of(x: Array, **attributes: Any) -> Case:
    return Case("pool", [node("AveragePool", "x", "y", **attributes)], {"x": x})


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [40, 41], "pads": [39, 40, 39, 40]},
        {"kernel_shape": [2, 3], "pads": [1, 4, 0, 0]},
    ],
    ids=["large windows", "far padding"],
)
def test_averages(attributes: dict[str, Any], rng: np.random.Generator) -> None:
    """As of the padded picture, which onnxruntime takes where padding is not too far for it."""
    x = rng.normal(size=(2, 3, 6, 7)).astype(np.float32)
    pads = attributes["pads"]
    padded = np.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    whole = pool_of(padded, kernel_shape=attributes["kernel_shape"])
    (expected,) = run_onnxruntime(float_model(whole), {"x": padded})
    case = pool_of(x, **attributes, count_include_pad=1)
    session = Session(float_model(case))
    (found,) = session.run({"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert "host" in {step.kernel for step in session.profile({"x": x})}
    quantized = Session(quantized_model(case, "uint8", float_output=True))
    (near,) = quantized.run({"x": x}).values()
    assert np.abs(near - expected).max() <= (x.max() - x.min()) / 255


def test_a_window_of_forty_thousand(rng: np.random.Generator) -> None:
    """Formula: the mean of the picture, of windows that hold all of it."""
    x = rng.normal(size=(1, 1, 8, 8)).astype(np.float32)
    case = pool_of(x, kernel_shape=[200, 200], pads=[196] * 4)
    (found,) = Session(float_model(case)).run({"x": x}).values()
    assert found.shape == (1, 1, 201, 201)
    np.testing.assert_allclose(found[0, 0, 100, 100], x.mean(), rtol=1e-4)
