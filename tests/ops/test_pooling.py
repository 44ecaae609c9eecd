"""Windows on the host against onnxruntime: floats, as for them it has all of these."""

from typing import Any

import numpy as np
import pytest

from q8tool.ops.host import HostOperator
from tests.build import Array, model_of, node, run_onnxruntime

GENERATOR = np.random.default_rng(1)

POOLS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((9,), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ((8, 7), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]}),
    ((8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((8, 9), {"kernel_shape": [2, 3], "dilations": [3, 2], "pads": [1, 2, 1, 0]}),
    ((8, 7), {"kernel_shape": [5, 4], "strides": [1, 2], "auto_pad": "SAME_UPPER"}),
    ((8, 7), {"kernel_shape": [4, 5], "strides": [3, 1], "auto_pad": "SAME_LOWER"}),
    ((8, 7), {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "VALID"}),
    ((5, 4, 6), {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2], "pads": [0, 1, 1, 1, 1, 0]}),
]


def floats(*shape: int) -> Array:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def both(op: str, opset: int, x: Array, outputs: int, **attributes: Any) -> tuple[Any, Any]:
    """What the host and onnxruntime make of it."""
    names = ["y", "indices"][:outputs]
    pool = node(op, "x", " ".join(names), **attributes)
    found = HostOperator(pool, ["x"], {"": opset}).run([x])
    return found, run_onnxruntime(model_of([pool], {"x": x}, {}, names, opset), {"x": x})


@pytest.mark.parametrize("includes", [0, 1])
@pytest.mark.parametrize("case", range(len(POOLS)))
def test_averages(case: int, includes: int) -> None:
    size, attributes = POOLS[case]
    found, want = both(
        "AveragePool", 19, floats(2, 3, *size), 1, count_include_pad=includes, **attributes
    )
    np.testing.assert_allclose(found[0], want[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8"])
@pytest.mark.parametrize("case", range(len(POOLS)))
def test_maxima(case: int, dtype: str) -> None:
    size, attributes = POOLS[case]
    x = (50 + 9 * floats(2, 3, *size)).astype(dtype)
    found, want = both("MaxPool", 12, x, 1, **attributes)
    assert found[0].dtype == want[0].dtype
    np.testing.assert_array_equal(found[0], want[0])


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("case", range(len(POOLS)))
def test_places_of_maxima(case: int, order: int) -> None:
    size, attributes = POOLS[case]
    x = np.round(2 * floats(2, 3, *size))  # some are equal
    found, want = both("MaxPool", 12, x, 2, storage_order=order, **attributes)
    for got, right in zip(found, want, strict=True):
        assert got.dtype == right.dtype
        np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool", "LpPool"])
def test_a_window_far_larger_than_its_picture(op: str) -> None:
    """Formula: each window holds all of the picture. Padded it would be a gigabyte."""
    x = np.abs(floats(1, 3, 9, 8))
    pool = node(op, "x", "y", kernel_shape=[65537, 255], auto_pad="SAME_UPPER")
    (found,) = HostOperator(pool, ["x"], {"": 22}).run([x])
    flat = x.reshape(1, 3, 72).astype(np.float64)
    want = {"AveragePool": flat.mean(2), "MaxPool": flat.max(2)}
    each = want.get(op, np.sqrt((flat**2).sum(2)))
    np.testing.assert_allclose(
        found, np.broadcast_to(each[..., None, None], found.shape), rtol=1e-5
    )
