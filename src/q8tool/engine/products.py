"""Products with constant weights: what Conv, Gemm, MatMul and their integer forms share.

x is a picture [N, H, W, C]; a matrix is one row of pixels. Weights are [OC, KH, KW, C / groups].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.epilogue import Epilogue
from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import Tensor
from q8tool.engine.values import CodeParams, Value

__all__ = [
    "UNFIT_BIAS",
    "CodeWeights",
    "LateCodes",
    "bias_codes",
    "code_weights",
    "emit_code_product",
    "fits_codes",
    "has_code_bias",
    "rounded_bias",
]

UNFIT_BIAS = "its bias is beyond int32 in units of its scales"
"""The reason of what has inputs that are next to nothing, by their scale."""

_BIAS_LIMIT = 2.0**31 - 1


@dataclass(eq=False)
class LateCodes:
    """Weights that are read when their step is added to the plan: never all are in memory.

    shape  [OC, KH, KW, C / groups]; what is read may be (C, OC) of a plain product instead
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]

    def __call__(self) -> NDArray[np.int8]:
        """The weights as C takes them."""
        return _signed(self.read())


@dataclass(eq=False)
class CodeWeights:
    """int8 weights [OC, KH, KW, C / groups] with scale and zero point per output channel."""

    codes: NDArray[np.int8] | LateCodes
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32] | None


def code_weights(
    codes: NDArray[Any] | LateCodes, scale: NDArray[Any], zero_point: NDArray[Any] | None
) -> CodeWeights:
    """Weights as C takes them: uint8 moved down by 128, one scale and zero point per channel."""
    outputs = codes.shape[0]
    offsets = np.zeros(outputs, np.int32)
    if zero_point is not None:
        offsets = np.array(np.broadcast_to(zero_point.ravel().astype(np.int32), (outputs,)))
    if codes.dtype == np.uint8:
        offsets = offsets - 128
    scales = np.array(np.broadcast_to(scale.ravel(), (outputs,)), np.float32)
    kept = codes if isinstance(codes, LateCodes) else _signed(codes)
    return CodeWeights(kept, scales, offsets if offsets.any() else None)


def _signed(codes: NDArray[Any]) -> NDArray[np.int8]:
    codes = np.ascontiguousarray(codes)
    return (codes ^ np.uint8(0x80)).view(np.int8) if codes.dtype == np.uint8 else codes


def bias_codes(
    bias: Value | None, x_scale: float, w_scale: NDArray[np.float32]
) -> NDArray[np.int32] | None:
    """The bias in units of x_scale * w_scale: as the file has it if that is its scale.

    What does not fit is clamped: has_code_bias tells.
    """
    if bias is None:
        return None
    product = np.asarray(np.float32(x_scale) * w_scale, np.float32)
    kept = _kept_codes(bias, product)
    return rounded_bias(bias.fact.array().ravel(), product) if kept is None else kept


def _kept_codes(bias: Value, product: NDArray[np.float32]) -> NDArray[np.int32] | None:
    """The codes of a bias that the file has in units of `product`."""
    known = bias.quantized
    if known is None or known.codes.dtype != np.int32 or known.zero_point.any():
        return None
    is_one = known.scale.size == 1 or product.size == 1
    if not (is_one or known.scale.shape == product.shape) or not _are_close(known.scale, product):
        return None
    return known.codes.array().astype(np.int32).ravel()


def _are_close(scales: NDArray[Any], wanted: NDArray[np.float32]) -> bool:
    """np.allclose(scales, wanted, rtol=1e-5, atol=0) in a quarter of its time."""
    with np.errstate(all="ignore"):
        return bool((np.abs(scales - wanted) <= np.float32(1e-5) * np.abs(wanted)).all())


def fits_codes(bias: NDArray[Any], x_scale: float, w_scale: NDArray[np.float32]) -> bool:
    """False if real bias values in units of x_scale * w_scale are beyond int32.

    Where inputs are next to nothing, so are the units. w_scale: one, or as many as repeat.
    """
    values = bias.ravel().astype(np.float64)
    limits = 2.0**31 * np.abs(np.float32(x_scale) * np.resize(w_scale, values.shape))
    return bool((np.abs(values) <= limits).all())


def has_code_bias(bias: Value | None, x_scale: float, w_scale: NDArray[np.float32]) -> bool:
    """True if bias_codes loses nothing of the bias but what is rounded."""
    if bias is None or _kept_codes(bias, np.float32(x_scale) * w_scale) is not None:
        return True
    return fits_codes(bias.fact.array(), x_scale, w_scale)


def rounded_bias(bias: NDArray[Any], product: NDArray[np.float32]) -> NDArray[np.int32]:
    """Real bias values in units of x_scale * w_scale; what fits_codes refuses is clamped."""
    codes = np.rint(np.broadcast_to(bias, product.shape).astype(np.float64) / product)
    return np.clip(codes, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)


def emit_code_product(
    lowering: Lowering,
    x: Tensor,
    x_params: CodeParams,
    weights: CodeWeights,
    bias: NDArray[np.int32] | None,
    epilogue: Epilogue,
    y: Tensor,
    residual: Tensor | None = None,
    **window: Any,
) -> None:
    """A step that writes codes (if the epilogue wants them) or floats.

    residual  floats like y that are added before the clamp; only without codes
    """
    x_scale = np.float32(x_params.scale)
    arguments: dict[str, Any] = {
        "weights": weights.codes,
        "weight_zero_point": weights.zero_point,
        "bias": bias,
        "x_zero_point": x_params.zero_point,
        **window,
    }
    if epilogue.params is None:
        arguments["multiplier"] = x_scale * weights.scale
        arguments["float_low"], arguments["float_high"] = epilogue.low, epilogue.high
    else:
        arguments["multiplier"] = x_scale * weights.scale / np.float32(epilogue.params.scale)
        arguments["y_zero_point"] = epilogue.params.zero_point
        arguments["y_low"], arguments["y_high"] = epilogue.code_bounds()
    lowering.emit("conv", {"x": x, "residual": residual}, {"y": y}, **arguments)
