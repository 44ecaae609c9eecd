"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear on the host.

The rules are those of docs/numerics.md, through `numerics`. What those rules do not cover (block
scales, four-bit and float8 codes, half precision) goes to onnx.reference.
"""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_25
from onnx.reference.ops.op_quantize_linear import QuantizeLinear_25

from q8tool.numerics.qparams import CodeType, QuantParams
from q8tool.numerics.rounding import dequantize, quantize

__all__ = [
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QuantizeLinear",
    "code_type",
    "tensor_params",
]

Array = NDArray[Any]
# The implementations that all versions of onnx.reference share, as plain functions.
_reference_quantize: Any = vars(QuantizeLinear_25.__base__)["_run"]
_reference_dequantize: Any = vars(DequantizeLinear_25.__base__)["_run"]
_CODE_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "int32"})


def tensor_params(
    scale: Array, zero_point: Array | None, dtype: np.dtype[Any], axis: int | None, rank: int
) -> QuantParams | None:
    """Scale and zero point inputs of a node as QuantParams; None if `numerics` has no rule.

    axis counts only where scale has more than one entry; it may be negative.
    """
    if dtype.name not in _CODE_TYPES or scale.dtype != np.float32 or scale.ndim > 1:
        return None
    if scale.size == 1:
        scale, axis = scale.reshape(()), None
    if zero_point is None:
        zero_point = np.zeros(scale.shape, np.int32)
    codes = zero_point.astype(np.int32)
    codes = np.broadcast_to(codes.reshape(()) if codes.size == 1 else codes, scale.shape)
    if axis is not None:
        axis = axis + rank if axis < 0 else axis
    return QuantParams(scale, codes, code_type(dtype), axis)


def code_type(dtype: np.dtype[Any]) -> CodeType:
    """The name of an integer type that codes may have."""
    return cast(CodeType, dtype.name)


class QuantizeLinear(OpRun):
    """Float to codes, opsets 10 and up; per tensor or along an axis."""

    def _run(
        self, x: Array, scale: Array, zero_point: Array | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        output_dtype = attributes.get("output_dtype") or 0
        dtype = np.dtype(np.uint8)
        if zero_point is not None:
            dtype = zero_point.dtype
        elif output_dtype:
            dtype = np.dtype(tensor_dtype_to_np_dtype(output_dtype))
        params = tensor_params(scale, zero_point, dtype, attributes.get("axis", 1), x.ndim)
        is_plain = x.dtype in (np.float32, np.int32) and not attributes.get("precision")
        if params is None or not is_plain or attributes.get("block_size"):
            inputs = (x, scale) if zero_point is None else (x, scale, zero_point)
            return tuple(_reference_quantize(self, *inputs, **attributes))
        return (quantize(x.astype(np.float32), params),)


class DequantizeLinear(OpRun):
    """Codes to float, opset 10 and up (onnx.reference has 19 and up); also along an axis."""

    def _run(
        self, codes: Array, scale: Array, zero_point: Array | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        params = tensor_params(
            scale, zero_point, codes.dtype, attributes.get("axis", 1), codes.ndim
        )
        plain_type = attributes.get("output_dtype") in (None, 0, 1)
        if params is None or not plain_type or attributes.get("block_size"):
            inputs = (codes, scale) if zero_point is None else (codes, scale, zero_point)
            return tuple(_reference_dequantize(self, *inputs, **attributes))
        return (dequantize(codes, params),)


class DynamicQuantizeLinear(OpRun):
    """Float to uint8 codes whose range is that of the data, widened to contain 0.

    All in float32, as the standard's formula is computed by onnxruntime.
    """

    def _run(self, x: Array) -> tuple[Array, Array, Array]:
        low = np.float32(min(np.min(x, initial=np.inf), 0.0))
        high = np.float32(max(np.max(x, initial=-np.inf), 0.0))
        scale = np.float32(1.0) if high == low else (high - low) / np.float32(255.0)
        zero_point = np.rint(np.clip(-low / scale, 0.0, 255.0)).astype(np.uint8)
        params = QuantParams(np.asarray(scale), np.asarray(zero_point, np.int32), "uint8")
        return quantize(x, params), np.asarray(scale, np.float32), np.asarray(zero_point)
