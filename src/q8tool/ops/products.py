"""MatMulInteger and QLinearMatMul on the host, rounded as docs/numerics.md says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.numerics.rounding import requantize
from q8tool.ops.codes import code_type

__all__ = ["MatMulInteger", "QLinearMatMul"]

Array = NDArray[Any]


def _centred(codes: Array, zero_point: Array | None, per_row: bool) -> NDArray[np.float64]:
    """code - zero_point in float64; a vector of zero points goes with a's rows or b's columns."""
    if zero_point is None:
        return codes.astype(np.float64)
    offsets = zero_point.astype(np.float64)
    if offsets.ndim == 1:
        offsets = offsets.reshape(-1, 1) if per_row and offsets.size > 1 else offsets
    return codes.astype(np.float64) - offsets


def _exact_product(a: Array, a_zero: Array | None, b: Array, b_zero: Array | None) -> Array:
    """int32 sums, exact: float64 holds integers up to 2^53."""
    product = np.matmul(_centred(a, a_zero, per_row=True), _centred(b, b_zero, per_row=False))
    return np.asarray(product).astype(np.int64).astype(np.int32)


class MatMulInteger(OpRun):
    """Eight-bit codes to int32 sums."""

    def _run(
        self,
        a: Array,
        b: Array,
        a_zero_point: Array | None = None,
        b_zero_point: Array | None = None,
    ) -> tuple[Array]:
        return (_exact_product(a, a_zero_point, b, b_zero_point),)


class QLinearMatMul(OpRun):
    """Eight-bit codes to eight-bit codes."""

    def _run(
        self,
        a: Array,
        a_scale: Array,
        a_zero_point: Array,
        b: Array,
        b_scale: Array,
        b_zero_point: Array,
        y_scale: Array,
        y_zero_point: Array,
    ) -> tuple[Array]:
        sums = _exact_product(a, a_zero_point, b, b_zero_point)
        per_row = a_scale.reshape(-1, 1) if a_scale.ndim == 1 and a_scale.size > 1 else a_scale
        multiplier = np.asarray(per_row * b_scale / y_scale, np.float32)
        zero_point, dtype = int(y_zero_point.item()), code_type(y_zero_point.dtype)
        return (requantize(sums, multiplier, zero_point, dtype),)
