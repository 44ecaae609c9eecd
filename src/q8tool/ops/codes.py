"""Scale and zero point of a node as its inputs have them, and what DequantizeLinear makes of codes.

Needs no onnx: constants are computed while a model is compiled, and a bias often is such codes.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from q8tool.numerics.qparams import CodeType, QuantParams
from q8tool.numerics.rounding import dequantize

__all__ = ["code_type", "dequantized", "tensor_params"]

Array = NDArray[Any]
_CODE_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "int32"})


def dequantized(
    codes: Array, scale: Array, zero_point: Array | None, attributes: Mapping[str, Any]
) -> NDArray[np.float32] | None:
    """Codes as float32, per tensor or along an axis, opsets 10 and up.

    None where the rules of docs/numerics.md do not cover it: block scales, four-bit and float8
    codes, half precision. Raises ValueError if scales do not fit the axis.
    """
    if attributes.get("output_dtype") not in (None, 0, 1) or attributes.get("block_size"):
        return None
    axis = attributes.get("axis", 1)
    params = tensor_params(scale, zero_point, codes.dtype, axis, codes.ndim)
    return None if params is None else dequantize(codes, params)


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
