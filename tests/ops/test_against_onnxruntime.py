"""Operators on the host against onnxruntime, on shapes whose dimensions all differ.

The standard's own cases often have as many samples as channels, sorted values, one window; an
implementation that confuses them passes.
"""

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from q8tool import Session
from tests.build import Array, run_onnxruntime

GENERATOR = np.random.default_rng(1)


def floats(*shape: int) -> Array:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def above_zero(*shape: int) -> Array:
    return np.abs(floats(*shape)) + np.float32(0.1)


def counts(most: int, *shape: int, dtype: str = "int64") -> Array:
    return GENERATOR.integers(0, most, shape).astype(dtype)


def i64(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


def number(value: float, dtype: str = "int64") -> Array:
    return np.asarray(value, dtype)


REGIONS = np.asarray([[1, 1, 7, 8], [0, 0, 5, 5], [2.5, 3.5, 8.2, 11.7]], np.float32)
PICTURES = np.asarray([[0], [1], [1]], np.float32)
FEW = counts(3, 6, 4).astype(np.float32)

# Sizes of a picture and of a window, attributes.
TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((4, 5), (3, 2), {}),
    ((4, 5), (3, 2), {"strides": [3, 2], "pads": [1, 0, 2, 1], "output_padding": [2, 1]}),
    ((4, 5), (2, 3), {"dilations": [3, 2], "auto_pad": "VALID"}),
    ((4, 5), (2, 3), {"strides": [2, 1], "output_shape": [7, 6]}),
    ((4, 5), (2, 3), {"strides": [4, 3], "output_shape": [17, 15]}),
    ((3, 2), (4, 5), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((3, 2), (4, 5), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((3,), (50,), {"strides": [2], "dilations": [2], "pads": [40, 3]}),
    ((3, 2, 4), (2, 3, 2), {"strides": [1, 2, 3], "dilations": [2, 1, 1]}),
]

# Operator, opset, inputs, attributes.
CASES: list[Any] = [
    *((op, 9, [floats(2, 3, 5) / 4], {}) for op in ("Acos", "Asin", "Atan", "Atanh", "Tan")),
    *((op, 9, [above_zero(2, 3, 5) + 1], {}) for op in ("Acosh", "Asinh", "Cosh", "Sinh")),
    ("BitShift", 11, [counts(99, 2, 3, dtype="uint32"), counts(7, 3, dtype="uint32")],
     {"direction": "LEFT"}),
    *((f"{name}Window", 17, [number(9)], {"periodic": periodic})
      for name in ("Blackman", "Hamming", "Hann") for periodic in (0, 1)),
    ("CenterCropPad", 18, [floats(2, 7, 4, 9), i64(5, 12)], {"axes": [1, 3]}),
    ("Col2Im", 18, [floats(2, 18, 12), i64(5, 5), i64(2, 3)], {}),
    ("Col2Im", 18, [floats(3, 5, 10), i64(14), i64(5)], {}),
    ("Compress", 11, [floats(3, 4), number(1, "bool").repeat(7)], {}),
    *(("DFT", 17, [floats(2, 9, 5, 2), number(size)], {"axis": axis, "inverse": inverse})
      for size, axis in ((12, 1), (4, 2)) for inverse in (0, 1)),
    ("Det", 11, [floats(2, 3, 4, 4)], {}),
    *(("Einsum", 12, inputs, {"equation": equation}) for equation, inputs in (
        ("ii->i", [floats(4, 4)]),
        ("abc,cd,de->abe", [floats(2, 3, 4), floats(4, 5), floats(5, 6)]),
        ("bqhd,bkhd->bhqk", [floats(2, 3, 4, 5), floats(2, 6, 4, 5)]))),
    *(("EyeLike", 9, [floats(3, 5)], {"k": k}) for k in (0, 1, -2)),
    *(("GlobalLpPool", 2, [floats(2, 3, 5, 4)], {"p": p}) for p in (1, 2, 3)),
    *((op, opset, [floats(3, 4, 5).astype(dtype)], axis)
      for op, dtype in (("Hardmax", "float32"), ("LogSoftmax", "float64"), ("Softmax", "float64"))
      for opset in (8, 11, 13) for axis in ({}, {"axis": 0}, {"axis": 1}, {"axis": 2})),
    *(("LRN", 13, [floats(*shape)], {"size": size, "alpha": 0.5, "beta": 0.6, "bias": 1.2})
      for shape in ((2, 7, 5, 4), (1, 9, 3, 3), (3, 4, 6, 2)) for size in (1, 3, 5)),
    ("LRN", 13, [floats(2, 7, 5, 4)], {"size": 3, "alpha": 0.1, "beta": 2.0, "bias": 0.0}),
    *(("LpNormalization", 1, [floats(2, 3, 5)], {"axis": axis, "p": p})
      for axis in (1, -1) for p in (1, 2)),
    *(("LpPool", 11, [floats(2, 3, 7, 6)],
       {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "p": p})
      for p in (1, 2, 3)),
    ("LpPool", 18, [floats(2, 3, 7, 6)],
     {"kernel_shape": [3, 2], "dilations": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("LpPool", 11, [floats(2, 3, 9)],
     {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}),
    ("MaxRoiPool", 1, [floats(2, 3, 9, 8), np.hstack([PICTURES, REGIONS])],
     {"pooled_shape": [3, 2]}),
    ("MaxRoiPool", 1, [floats(2, 3, 16, 9), np.hstack([PICTURES, 2 * REGIONS])],
     {"pooled_shape": [2, 3], "spatial_scale": 0.5}),
    ("MaxRoiPool", 1, [floats(2, 3, 9, 8), np.hstack([PICTURES, REGIONS - 4])],
     {"pooled_shape": [3, 2]}),
    ("MeanVarianceNormalization", 13, [floats(2, 3, 5, 4)], {"axes": [1, 2]}),
    ("MelWeightMatrix", 17, [number(5), number(64), number(16000), number(60, "float32"),
                             number(7600, "float32")], {}),
    *(("NegativeLogLikelihoodLoss", 13, [floats(3, 5, 4), counts(5, 3, 4), above_zero(5)],
       {"reduction": reduction}) for reduction in ("none", "mean", "sum")),
    *(("OneHot", 11, [counts(6, 2, 3) - 3, number(6), floats(2)], {"axis": axis})
      for axis in (-1, 0, 1, -2)),
    *((op, 13, [counts(5, 2, 3, 4, dtype="int32")], {"axes": axes, "keepdims": keepdims})
      for op in ("ReduceProd", "ReduceMax", "ReduceMean") for axes in ([0, 2], [-2])
      for keepdims in (0, 1)),
    *(("ReduceLogSumExp", 13, [30 * floats(2, 3, 4)], {"axes": axes}) for axes in ([0, 2], [-2])),
    *(("RoiAlign", 16, [floats(2, 3, 12, 9), REGIONS, i64(0, 1, 1)],
       {"mode": mode, "output_height": 3, "output_width": 2, "sampling_ratio": 2})
      for mode in ("avg", "max")),
    ("STFT", 17, [floats(2, 64, 1), number(8), above_zero(16)], {"onesided": 1}),
    ("SoftmaxCrossEntropyLoss", 13, [floats(3, 5, 4, 2), counts(5, 3, 4, 2), above_zero(5)], {}),
    *(("Unique", 11, [FEW], {"sorted": order, **axis})
      for order in (0, 1) for axis in ({}, {"axis": 0}, {"axis": 1})),
    ("Col2Im", 18, [floats(2, 12, 9), i64(6, 9), i64(3, 2)],
     {"strides": [2, 3], "dilations": [1, 2], "pads": [1, 0, 0, 1]}),
    ("Col2Im", 18, [floats(2, 80, 3), i64(44), i64(40)], {"strides": [2]}),
    *(("DeformConv", 19, [floats(2, 4, 6, 7), floats(6, 4 // group, 3, 2),
                          floats(2, offsets * 12, *out), floats(6), floats(2, offsets * 6, *out)],
       {"group": group, "offset_group": offsets, **attributes})
      for group, offsets in ((1, 1), (2, 1), (1, 2), (2, 4)) for out, attributes in (
        ((4, 6), {"pads": [0, 0, 0, 0]}),
        ((3, 4), {"pads": [1, 0, 0, 1], "strides": [2, 2]}),
        ((4, 7), {"pads": [2, 1, 0, 1], "dilations": [2, 2]}))),
    ("DeformConv", 19, [floats(1, 3, 5, 5), floats(2, 3, 2, 2), 3 * floats(1, 8, 4, 4)], {}),
    *(("ConvTranspose", 11, [floats(2, 6, *size), floats(6, 2, *kernel), floats(2 * group)],
       {"group": group, **attributes})
      for size, kernel, attributes in TRANSPOSED for group in (1, 3)),
]  # fmt: skip


def model_of_case(
    op: str, opset: int, feeds: dict[str, Array], names: list[str], attributes: dict[str, Any]
) -> onnx.ModelProto:
    outputs = ["y"] if op != "Unique" else ["y", "first", "of", "counts"]
    single = helper.make_node(op, names, outputs, name=op, **attributes)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    graph = helper.make_graph([single], op, inputs, [onnx.ValueInfoProto(name=n) for n in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: f"{CASES[case][0]}-{case}")
def test_the_same_answers(case: int) -> None:
    op, opset, inputs, attributes = CASES[case]
    names = [f"x{place}" if value is not None else "" for place, value in enumerate(inputs)]
    feeds = {n: value for n, value in zip(names, inputs, strict=True) if value is not None}
    model = model_of_case(op, opset, feeds, names, attributes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Session(model).run(feeds).values()
    for got, want in zip(found, run_onnxruntime(model, feeds), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
