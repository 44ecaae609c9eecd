"""Every mode of Resize that C has, against onnxruntime."""

import itertools
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime

COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


def numbers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).uniform(-2, 3, shape).astype(np.float32)


def resize(x: Array, inputs: dict[str, Array], opset: int = 19, **attributes: Any) -> Any:
    names = " ".join(name if name in inputs else "-" for name in ("roi", "scales", "sizes"))
    names = names.rstrip(" -") if "sizes" not in inputs else names
    return model_of(
        [node("Resize", f"x {names}", "y", **attributes)], {"x": x}, inputs, ["y"], opset
    )


def check(x: Array, inputs: dict[str, Array], tolerance: float = 2e-5, **attributes: Any) -> None:
    model = resize(x, inputs, **attributes)
    (expected,) = run_onnxruntime(model, {"x": x})
    y = Session(model, 1, strict=True).run({"x": x})["y"]
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 0.6, 0.8), (1.0, 1.0, 2.0, 1.5)])
@pytest.mark.parametrize(("coordinates", "exclude"), [*itertools.product(COORDINATES, (0, 1))])
def test_cubic(coordinates: str, exclude: int, scales: tuple[float, ...]) -> None:
    check(
        numbers(1, 2, 10, 10),
        {"scales": np.array(scales, np.float32)},
        mode="cubic",
        cubic_coeff_a=-0.5,
        coordinate_transformation_mode=coordinates,
        exclude_outside=exclude,
    )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sizes", [(1, 2, 4, 7), (1, 2, 5, 3)])
def test_antialias(mode: str, sizes: tuple[int, ...]) -> None:
    """onnx.reference repeats the edge there; onnxruntime, like Pillow, leaves it out."""
    check(
        numbers(1, 2, 12, 11),
        {"sizes": np.array(sizes, np.int64)},
        mode=mode,
        antialias=1,
        exclude_outside=1,
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_region(mode: str) -> None:
    region = np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2], np.float32)
    check(
        numbers(1, 2, 6, 7),
        {"roi": region, "sizes": np.array([1, 2, 5, 9], np.int64)},
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.0,
    )


def test_volumes() -> None:
    x = numbers(1, 2, 4, 5, 6)
    sizes = {"sizes": np.array([1, 2, 7, 5, 3], np.int64)}
    for mode in ("nearest", "linear"):
        check(x, sizes, mode=mode)


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float64, np.int8])
def test_nearest_moves_any_type(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(dtype)
    inputs = {"scales": np.array([2.0, 1.0, 0.5], np.float32)}
    model = resize(x, inputs, mode="nearest")
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(Session(model, 1, strict=True).run({"x": x})["y"], expected)


def test_what_shrinks_goes_first() -> None:
    """27 MB; 230 on the way, which no value may have, in the order of the dimensions."""
    check(numbers(2, 3, 40, 60), {"sizes": np.array([800, 3, 400, 7])},
          coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
