"""ConvTranspose by phases of its stride, against onnxruntime: floats, and codes byte for byte."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime

SIDE = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))


def attributes_of(sides: list[tuple[int, int, int, int]], extra: list[int]) -> dict[str, Any]:
    return {
        "strides": [stride for _, stride, _, _ in sides],
        "pads": [begin for _, _, begin, _ in sides] + [end for _, _, _, end in sides],
        "output_padding": extra,
    }


def is_fit(size: int, side: tuple[int, int, int, int], extra: int) -> bool:
    kernel, stride, begin, end = side
    return (
        extra < stride
        and max(begin, end) < kernel
        and (size - 1) * stride + kernel + extra - begin - end > 0
    )


@given(
    sides=st.lists(SIDE, min_size=1, max_size=2),
    extra=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=2),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
@settings(max_examples=60)
def test_floats(
    sides: list[tuple[int, int, int, int]],
    extra: list[int],
    sizes: list[int],
    channels: tuple[int, int],
) -> None:
    extra, sizes = extra[: len(sides)], sizes[: len(sides)]
    assume(all(map(is_fit, sizes, sides, extra)))
    generator = np.random.default_rng(3)
    x = generator.standard_normal((2, channels[0], *sizes), dtype=np.float32)
    w = generator.standard_normal((*channels, *(side[0] for side in sides)), dtype=np.float32)
    bias = generator.standard_normal(channels[1], dtype=np.float32)
    nodes = [node("ConvTranspose", "x w b", "c", **attributes_of(sides, extra)),
             node("Relu", "c", "y")]  # fmt: skip
    model = model_of(nodes, {"x": x}, {"w": w, "b": bias}, ["y"])
    (want,) = run_onnxruntime(model, {"x": x})
    got = Session(model, strict=True).run({"x": x})["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "half a cell": (2, {"strides": [2, 2]}),
    "overlapping": (4, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "odd kernel": (3, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "uneven": (5, {"strides": [3, 2], "pads": [2, 1, 0, 2]}),
    "cells cut in two": (3, {"strides": [2, 2]}),
}


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("case", CASES)
def test_codes(case: str, axis: int | None) -> None:
    kernel, attributes = CASES[case]
    generator = np.random.default_rng(7)
    x = generator.integers(0, 256, (2, 6, 5, 4)).astype(np.uint8)
    scale = np.float32(0.01) if axis is None else generator.uniform(0.005, 0.02, 3)
    arrays: dict[str, Array] = {
        "w": generator.integers(-127, 128, (6, 3, kernel, kernel)).astype(np.int8),
        "ws": np.asarray(scale, np.float32), "wz": np.zeros(np.shape(scale), np.int8),
        "xs": np.asarray(0.03, np.float32), "xz": np.asarray(120, np.uint8),
        "ys": np.asarray(0.11, np.float32), "yz": np.asarray(99, np.uint8),
    }  # fmt: skip
    along = {} if axis is None else {"axis": axis}
    nodes = [
        node("DequantizeLinear", "x xs xz", "xf"),
        node("DequantizeLinear", "w ws wz", "wf", **along),
        node("ConvTranspose", "xf wf", "yf", **attributes),
        node("QuantizeLinear", "yf ys yz", "y"),
    ]
    model = model_of(nodes, {"x": x}, arrays, ["y"])
    (want,) = run_onnxruntime(model, {"x": x})
    session = Session(model, strict=True)
    got = session.run({"x": x})["y"]
    assert any(step.dtype == "u8" and "Conv" in step.op for step in session.explain())
    # onnxruntime adds floats: a sum at the middle of two codes may fall either way.
    assert np.abs(got.astype(int) - want).max() <= 1
    assert np.mean(got != want) < 0.01


def test_only_what_is_there_is_multiplied() -> None:
    x, w = np.ones((1, 8, 4, 4), np.float32), np.ones((8, 5, 16, 16), np.float32)
    model = model_of(
        [node("ConvTranspose", "x w", "y", strides=[16, 16])], {"x": x}, {"w": w}, ["y"]
    )
    session = Session(model, strict=True)
    np.testing.assert_array_equal(session.run({"x": x})["y"], np.full((1, 5, 64, 64), 8))
    assert sum(step.macs for step in session.explain()) == x.size * 5 * 16 * 16


def test_no_picture_is_spread_that_is_too_large_for_a_value() -> None:
    """A kernel with gaps: 64 channels of 0.9 GB for a result of 16 MB."""
    x = np.random.default_rng(4).standard_normal((1, 64, 6, 6), dtype=np.float32)
    w = np.random.default_rng(5).standard_normal((64, 1, 3, 3), dtype=np.float32)
    model = model_of(
        [node("ConvTranspose", "x w", "y", strides=[7, 20000])], {"x": x}, {"w": w}, ["y"]
    )
    session = Session(model)
    (want,) = run_onnxruntime(model, {"x": x})
    np.testing.assert_allclose(session.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)
    (step,) = session.explain()
    assert step.kernel == "host"
    assert "bytes at once" in step.reason
