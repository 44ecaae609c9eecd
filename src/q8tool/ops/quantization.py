"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear on the host.

The rules are those of docs/numerics.md, through `numerics`. What those rules do not cover (block
scales, four-bit and float8 codes, half precision) goes to onnx.reference.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_25
from onnx.reference.ops.op_quantize_linear import QuantizeLinear_25

from q8tool.numerics.qparams import QuantParams
from q8tool.numerics.rounding import quantize
from q8tool.ops.codes import dequantized, tensor_params

__all__ = ["DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"]

Array = NDArray[Any]
# The implementations that all versions of onnx.reference share, as plain functions.
_reference_quantize: Any = vars(QuantizeLinear_25.__base__)["_run"]
_reference_dequantize: Any = vars(DequantizeLinear_25.__base__)["_run"]


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
        result = dequantized(codes, scale, zero_point, attributes)
        if result is None:
            inputs = (codes, scale) if zero_point is None else (codes, scale, zero_point)
            return tuple(_reference_dequantize(self, *inputs, **attributes))
        return (result,)


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
