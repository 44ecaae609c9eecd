"""QuantizeLinear and DequantizeLinear of other codes than eight bits with one scale, in parts.

Codes of 16 bits, int32, scales per axis or per block, scales that the run brings: each is a cast,
a difference, a product; or a quotient, rounded, shifted and clamped.
"""

from typing import NamedTuple

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, constant_tensor, number_beside
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["dequantize_in_parts", "quantize_in_parts"]

# Floats hold all of their codes and every difference of two.
_CODES = tuple(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16"))


class _Parts(NamedTuple):
    """Dimensions under which scales broadcast against the values.

    values  the tensor's own, with the axis of blocks split in two
    scales  of scale and zero point
    """

    values: tuple[int, ...]
    scales: tuple[int, ...]


def dequantize_in_parts(lowering: Lowering, node: Node) -> None:
    """(x - zero point) * scale. Raises Declined for types that floats do not hold."""
    x, y, scale = lowering.input(node, 0), lowering.output(node), lowering.input(node, 1)
    offset = lowering.optional(node, 2)
    if x.dtype not in _CODES and not (x.dtype == np.int32 and _is_zero(offset)):
        raise Declined(f"codes of {x.dtype} have no C kernel")
    if not y.is_float or not scale.is_float:
        raise Declined("its result is not float32")
    parts = _parts(node, x, scale)
    values = _as_float(lowering, x).view(parts.values)
    if offset is not None and not _is_zero(offset):
        shift = _as_float(lowering, offset).view(parts.scales)
        values = _binary(lowering, "sub", values, shift)
    factor = lowering.form(scale, Layout.PLAIN).view(parts.scales)
    y.forms = {Layout.PLAIN: _binary(lowering, "mul", values, factor).view(y.shape)}


def quantize_in_parts(lowering: Lowering, node: Node) -> None:
    """saturate(rint(x / scale) + zero point). Raises Declined for types that floats do not hold."""
    x, y, scale = lowering.input(node, 0), lowering.output(node), lowering.input(node, 1)
    offset = lowering.optional(node, 2)
    if y.dtype not in _CODES or node.attributes.get("precision", 0):
        raise Declined(f"codes of {y.dtype} have no C kernel")
    if not x.is_float or not scale.is_float:
        raise Declined("its input is not float32")
    parts = _parts(node, x, scale)
    values = lowering.form(x, Layout.PLAIN).view(parts.values)
    divisor = lowering.form(scale, Layout.PLAIN).view(parts.scales)
    values = _unary(lowering, "round", _binary(lowering, "div", values, divisor))
    if offset is not None and not _is_zero(offset):
        shift = _as_float(lowering, offset).view(parts.scales)
        values = _binary(lowering, "add", values, shift)
    limits = np.iinfo(y.dtype)
    # Not a clamp, which keeps NaN: a maximum gives the second, so that NaN gets the lowest code.
    values = _binary(lowering, "max", values, number_beside(values, limits.min))
    clamped = _binary(lowering, "min", values, number_beside(values, limits.max))
    codes = lowering.new_form(y, _layout(y))
    lowering.emit("cast", {"x": clamped.view(y.shape)}, {"y": codes})


def _parts(node: Node, x: Value, scale: Value) -> _Parts:
    """How scales lie beside values: one, one per entry of the axis, or one per block of it."""
    shape, count = x.shape, int(np.prod(scale.shape))
    if count == 1:
        return _Parts(shape, (1,) * len(shape))
    axis = int(node.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    block = int(node.attributes.get("block_size", 0))
    if not 0 <= axis < len(shape):
        raise Declined("it has no such axis")
    if not block:
        if scale.shape != (shape[axis],):
            raise Declined("its scales are not one per entry of the axis")
        return _Parts(shape, tuple(n if d == axis else 1 for d, n in enumerate(shape)))
    blocks = shape[axis] // block
    if blocks * block != shape[axis] or scale.shape != (*shape[:axis], blocks, *shape[axis + 1 :]):
        raise Declined("its blocks are not of one size")
    before, after = shape[:axis], shape[axis + 1 :]
    return _Parts((*before, blocks, block, *after), (*before, blocks, 1, *after))


def _is_zero(offset: Value | None) -> bool:
    """True for a zero point that changes nothing."""
    return offset is None or (offset.is_constant and not np.any(offset.fact.array()))


def _layout(value: Value) -> Layout:
    return Layout.RAW if value.dtype == np.int8 else Layout.PLAIN


def _as_float(lowering: Lowering, value: Value) -> Tensor:
    if value.is_constant:
        return constant_tensor(value.fact.array().astype(np.float32))
    source = lowering.form(value, _layout(value))
    result = new_tensor(np.float32, source.shape)
    lowering.emit("cast", {"x": source}, {"y": result})
    return result


def _binary(lowering: Lowering, op: str, a: Tensor, b: Tensor) -> Tensor:
    result = new_tensor(np.float32, a.shape)
    lowering.emit("binary_f32", {"a": a, "b": b}, {"y": result}, op=op)
    return result


def _unary(lowering: Lowering, op: str, x: Tensor) -> Tensor:
    result = new_tensor(np.float32, x.shape)
    lowering.emit("unary_f32", {"x": x}, {"y": result}, op=op, alpha=0.0, beta=0.0)
    return result
