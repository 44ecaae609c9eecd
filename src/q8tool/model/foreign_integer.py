"""com.microsoft's integer products with float results, and products with packed weights.

Semantics as onnxruntime's ContribOperators.md has them; what it quantizes at run time is
DynamicQuantizeLinear here, too.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import constant, get_int

__all__ = ["REPLACE"]

_FLOAT = int(ir.DataType.FLOAT)


def _dynamic_product(new: Replacement, node: ir.Node) -> Coded:
    """A in float, codes B with scale and perhaps zero point, perhaps a bias."""
    a, b, b_scale, b_zero, bias = padded_inputs(node, 5)
    codes, a_scale, a_zero = new.add("DynamicQuantizeLinear", [a], None, 3)
    return _floats(new, codes, b, (a_scale, b_scale), (a_zero, b_zero), bias)


def _product_to_float(new: Replacement, node: ir.Node) -> Coded:
    """Codes A and B, their scales, perhaps their zero points, perhaps a bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = padded_inputs(node, 7)
    return _floats(new, a, b, (a_scale, b_scale), (a_zero, b_zero), bias)


def _floats(
    new: Replacement, a: ir.Value | None, b: ir.Value | None, scales: Coded, zeros: Coded,
    bias: ir.Value | None,
) -> Coded:  # fmt: skip
    """Float32 of the integer sums, times both scales, plus the bias."""
    sums = new.one("MatMulInteger", a, b, *zeros)
    result = new.one("Mul", new.one("Cast", sums, to=_FLOAT), new.one("Mul", *scales))
    return [result if bias is None else new.one("Add", result, bias)]


def _packed_product(new: Replacement, node: ir.Node) -> Coded | None:
    """MatMulNBits: B is (N, blocks, bytes) of 2, 4 or 8 bits, the lowest bits first.

    Weights stay codes of a byte each, with a scale and zero point per block of one column.
    """
    a, packed, scales, zeros, order, bias = padded_inputs(node, 6)
    columns, depth = get_int(node, "N", 0), get_int(node, "K", 0)
    bits, block = get_int(node, "bits", 4), get_int(node, "block_size", 32)
    if order is not None or bits not in (2, 4, 8) or min(block, depth, columns) < 1:
        return None
    blocks = -(-depth // block)
    codes, scale = constant(packed), constant(scales)
    size = columns * blocks * block * bits // 8
    if (
        codes is None or codes.dtype != np.uint8 or codes.size != size or block * bits % 8
        or scale is None or scale.size != columns * blocks
    ):  # fmt: skip
        return None
    codes, scale = _unpacked(codes, bits).reshape(-1, block), scale.reshape(-1).astype(np.float32)
    zero = _block_zeros(zeros, columns, blocks, bits)
    if zero is None:
        return None
    if zero.dtype == np.uint8 and new.opset >= 13:
        weights = new.one(
            "DequantizeLinear", new.constant("codes", codes), new.constant("scale", scale),
            new.constant("zero_point", zero), axis=0,
        )  # fmt: skip
    else:
        centred = codes.astype(np.float32) - zero.astype(np.float32)[:, None]
        weights = new.constant("weights", centred * scale[:, None])
    weights = new.one("Reshape", weights, new.constant("shape", [columns, blocks * block]))
    if blocks * block != depth:
        ends = (new.constant(n, [v]) for n, v in (("start", 0), ("end", depth), ("axis", 1)))
        weights = new.one("Slice", weights, *ends)
    result = new.one("MatMul", a, new.one("Transpose", weights, perm=[1, 0]))
    return [result if bias is None else new.one("Add", result, bias)]


def _unpacked(packed: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of a byte each; the lowest bits of a byte are the first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray((packed[..., None] >> shifts) & np.uint8(2**bits - 1), np.uint8).reshape(
        *packed.shape[:-1], -1
    )


def _block_zeros(
    value: ir.Value | None, columns: int, blocks: int, bits: int
) -> NDArray[Any] | None:
    """A zero point per block: half of the codes' range if none is given, packed if uint8.

    None if they are not constant, or not as many as there are blocks.
    """
    if value is None:
        return np.full(columns * blocks, 2 ** (bits - 1), np.uint8)
    given = constant(value)
    if given is None:
        return None
    if given.dtype != np.uint8:
        return given.reshape(-1).astype(np.float32) if given.size == columns * blocks else None
    if given.size != columns * -(-blocks * bits // 8):
        return None
    return _unpacked(given.reshape(columns, -1), bits)[:, :blocks].reshape(-1)


def _lstm(new: Replacement, node: ir.Node) -> Coded | None:
    """DynamicQuantizeLSTM: weights are codes, (directions, inputs, 4 * hidden).

    onnxruntime quantizes what it multiplies them with at run time; here that stays float.
    """
    inputs = padded_inputs(node, 12)
    weights = [
        _lstm_weights(new, inputs[position], inputs[parameters : parameters + 2])
        for position, parameters in ((1, 8), (2, 10))
    ]
    if any(value is None for value in weights):
        return None
    reads = [inputs[0], *weights, *inputs[3:8]]
    return new.add("LSTM", reads, node.attributes, len(node.outputs))


def _lstm_weights(new: Replacement, value: ir.Value | None, parameters: Coded) -> ir.Value | None:
    """As LSTM takes them: float, (directions, 4 * hidden, inputs)."""
    codes, scale, zero = (constant(v) for v in (value, *parameters))
    if codes is None or scale is None or zero is None or codes.ndim != 3:
        return None
    dims = (len(codes), 1, -1)
    sizes = (len(codes), len(codes) * codes.shape[-1])
    if scale.size not in sizes or zero.size not in sizes:
        return None
    real = (codes.astype(np.float32) - zero.reshape(dims)) * scale.reshape(dims)
    return new.constant("weights", np.float32(real.transpose(0, 2, 1)))


REPLACE: dict[str, Replace] = {
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeMatMul": _dynamic_product,
    "MatMulIntegerToFloat": _product_to_float,
    "MatMulNBits": _packed_product,
}
