"""com.microsoft's weights of two to eight bits with a scale per block: products and embeddings.

Semantics as onnxruntime's ContribOperators.md has them. Weights of whole numbers stay codes of a
byte each where the standard has conversions of their form; all others become float32.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import constant, get_int

__all__ = ["REPLACE"]

# Codes of bitsandbytes' 4-bit floats (sign, then an order of their own) and normal floats.
_FP4_SIZES = (0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25)
_FP4 = (*_FP4_SIZES, *(-size for size in _FP4_SIZES))
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


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


def _float_product(new: Replacement, node: ir.Node) -> Coded | None:
    """MatMulBnb4: B transposed, (N, K) in one row of 4-bit floats, the first in the higher bits."""
    a, packed, largest = padded_inputs(node, 3)
    columns, depth = get_int(node, "N", 0), get_int(node, "K", 0)
    block, codes, scale = get_int(node, "block_size", 0), constant(packed), constant(largest)
    size, kind = columns * depth, get_int(node, "quant_type", -1)
    if (
        codes is None or scale is None or min(size, block) < 1 or kind not in (0, 1)
        or codes.size != -(-size // 2) or scale.size != -(-size // block)
        or get_int(node, "transB", 1) != 1
    ):  # fmt: skip
        return None
    codes = codes.reshape(-1)
    numbers = np.stack([codes >> 4, codes & 15], axis=-1).reshape(-1)[:size]
    table = np.asarray(_NF4 if kind else _FP4, np.float32)
    factors = np.repeat(scale.reshape(-1).astype(np.float32), block)[:size]
    weights = (table[numbers] * factors).reshape(columns, depth).T
    return [new.one("MatMul", a, new.constant("weights", np.ascontiguousarray(weights)))]


def _embedding(new: Replacement, node: ir.Node) -> Coded | None:
    """GatherBlockQuantized: rows of a table with a scale and zero point per block of one axis."""
    table, indices, scales, zeros = padded_inputs(node, 4)
    codes, scale, zero = constant(table), constant(scales), constant(zeros)
    if codes is None or scale is None or (zero is None and zeros is not None):
        return None
    is_packed = codes.dtype == np.uint8
    bits = get_int(node, "bits", 4)
    if is_packed and bits in (4, 8):
        codes = _unpacked(codes, bits)
        zero = None if zero is None else _unpacked(zero, bits)[..., : scale.shape[-1]]
    elif is_packed:
        return None
    axis, block = get_int(node, "quantize_axis", 1), get_int(node, "block_size", 128)
    axis += codes.ndim if axis < 0 else 0
    if not 0 <= axis < codes.ndim or block < 1 or scale.ndim != codes.ndim:
        return None
    default = np.float32(2 ** (bits - 1) if is_packed else 0)
    centre = default if zero is None else _spread(zero, axis, block, codes.shape[axis])
    factor = _spread(scale, axis, block, codes.shape[axis])
    if factor.shape != codes.shape or np.shape(centre) not in ((), codes.shape):
        return None
    real = new.constant("table", (codes.astype(np.float32) - centre) * factor)
    return [new.one("Gather", real, indices, axis=get_int(node, "gather_axis", 0))]


def _spread(array: NDArray[Any], axis: int, block: int, size: int) -> NDArray[np.float32]:
    """A number per block of the axis as one per entry."""
    wide = np.repeat(array.astype(np.float32), block, axis=axis)
    return np.take(wide, np.arange(min(size, wide.shape[axis])), axis=axis)


REPLACE: dict[str, Replace] = {
    "GatherBlockQuantized": _embedding,
    "MatMulBnb4": _float_product,
    "MatMulNBits": _packed_product,
}
