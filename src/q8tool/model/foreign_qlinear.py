"""com.microsoft's eight-bit operators: conversions around the float operator."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from q8tool.model.foreign_nodes import (
    Coded,
    Replace,
    Replacement,
    own_attributes,
    padded_inputs,
)
from q8tool.model.graph import constant, get_float, get_int

__all__ = ["REPLACE"]

_UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
}
_BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
# onnx's types of eight-bit codes: others came into the standard's conversions with opset 21.
_BYTES = frozenset({ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.INT32})
_NIBBLES = frozenset({ir.DataType.INT4, ir.DataType.UINT4})


def _unary(new: Replacement, node: ir.Node) -> Coded:
    """x, scale, zero point, then those of the result."""
    result = new.one(
        _UNARY[node.op_type], new.real(node.inputs[:3]), attributes=own_attributes(node)
    )
    return _coded(new, result, node.inputs[3:5])


def _softmax(new: Replacement, node: ir.Node) -> Coded | None:
    """As the others; the attribute `opset` says which Softmax it means, whatever the model's.

    That before opset 13 takes all dimensions from the axis on as one.
    """
    x, axis = new.real(node.inputs[:3]), get_int(node, "axis", -1)
    source = node.inputs[0]
    is_last = axis == -1
    if source is not None and source.shape is not None:
        is_last = is_last or axis == len(source.shape) - 1
    is_old = get_int(node, "opset", 13) < 13
    if is_last or is_old == (new.opset < 13):
        result = new.one("Softmax", x, axis=axis)
    elif is_old:
        flat = new.one("Softmax", new.one("Flatten", x, axis=axis), axis=-1)
        result = new.one("Reshape", flat, new.one("Shape", x))
    else:
        return None
    return _coded(new, result, node.inputs[3:5])


def _binary(new: Replacement, node: ir.Node) -> Coded:
    """a and b with scale and zero point each, then those of the result."""
    result = new.one(_BINARY[node.op_type], new.real(node.inputs[:3]), new.real(node.inputs[3:6]))
    return _coded(new, result, node.inputs[6:8])


def _where(new: Replacement, node: ir.Node) -> Coded:
    """The condition, both choices with scale and zero point each, then those of the result."""
    result = new.one(
        "Where", node.inputs[0], new.real(node.inputs[1:4]), new.real(node.inputs[4:7])
    )
    return _coded(new, result, node.inputs[7:9])


def _concat(new: Replacement, node: ir.Node) -> Coded:
    """Scale and zero point of the result, then every part with its own."""
    starts = range(2, len(node.inputs), 3)
    parts = [new.real(node.inputs[start : start + 3]) for start in starts]
    result = new.one("Concat", *parts, attributes=own_attributes(node))
    return _coded(new, result, node.inputs[:2])


def _gemm(new: Replacement, node: ir.Node) -> Coded | None:
    """a, b, an int32 bias at alpha times their scales, and perhaps the result's parameters."""
    inputs = padded_inputs(node, 9)
    a_scale, b_scale = constant(inputs[1]), constant(inputs[4])
    if a_scale is None or b_scale is None:
        return None
    is_per_column = b_scale.size > 1
    axis = (0 if get_int(node, "transB", 0) else 1) if is_per_column else None
    operands = [new.real(inputs[:3]), new.real(inputs[3:6], axis)]
    if inputs[6] is not None:
        alpha = get_float(node, "alpha", 1.0)
        scale = new.constant(f"{node.name}_bias_scale", np.float32(alpha * a_scale * b_scale))
        operands.append(new.real([inputs[6], scale], 0 if is_per_column else None))
    result = new.one("Gemm", *operands, attributes=own_attributes(node))
    return [result] if inputs[7] is None else _coded(new, result, inputs[7:9])


def _coded(new: Replacement, result: ir.Value, parameters: Sequence[ir.Value | None]) -> Coded:
    return [new.one("QuantizeLinear", result, *parameters)]


def _quantize(new: Replacement, node: ir.Node) -> Coded | None:
    """QuantizeLinear with any type of codes: the standard's, or its formula where that is newer."""
    x, scale, zero_point = padded_inputs(node, 3)
    if zero_point is None or zero_point.dtype in _BYTES or new.opset >= 21:
        attributes = own_attributes(node) if new.opset >= 13 else {}
        return [new.one("QuantizeLinear", x, scale, zero_point, attributes=attributes)]
    zero, steps = constant(zero_point), constant(scale)
    if zero is None or steps is None or steps.size != 1 or zero.dtype.kind not in "iu":
        return None
    limits = np.iinfo(zero.dtype)
    rounded = new.one("Round", new.one("Div", x, scale))
    moved = new.one("Add", rounded, new.constant("zero", np.float32(zero.reshape(()))))
    low, high = (new.constant("limit", np.float32(end)) for end in (limits.min, limits.max))
    kind = int(ir.DataType.from_numpy(zero.dtype))
    return [new.one("Cast", new.one("Clip", moved, low, high), to=kind)]


def _dequantize(new: Replacement, node: ir.Node) -> Coded | None:
    """DequantizeLinear of any type of codes, as _quantize."""
    codes, scale, zero_point = padded_inputs(node, 3)
    kind = codes.dtype if codes is not None else None
    if zero_point is not None:
        kind = zero_point.dtype
    if kind in _BYTES or new.opset >= 21:
        attributes = own_attributes(node) if new.opset >= 13 else {}
        return [new.one("DequantizeLinear", codes, scale, zero_point, attributes=attributes)]
    steps = constant(scale)
    if kind in _NIBBLES and (wide := _bytes(new, [codes, scale, zero_point])) is not None:
        return [
            new.real(
                wide, get_int(node, "axis", 1) if steps is not None and steps.size > 1 else None
            )
        ]
    if steps is None or steps.size != 1:
        return None
    centred = new.one("Cast", codes, to=int(ir.DataType.FLOAT))
    if zero_point is not None:
        centred = new.one("Sub", centred, new.one("Cast", zero_point, to=int(ir.DataType.FLOAT)))
    return [new.one("Mul", centred, scale)]


def _bytes(new: Replacement, coded: Coded) -> list[ir.Value | None] | None:
    """Constant codes and zero point of four bits as codes of eight; None if they are computed."""
    codes, scale, zero_point = coded
    arrays = [constant(value) for value in (codes, zero_point)]
    if arrays[0] is None or (arrays[1] is None and zero_point is not None):
        return None
    wide = np.int8 if codes is not None and codes.dtype == ir.DataType.INT4 else np.uint8
    names = ("codes", "zero_point")
    made = [
        None if array is None else new.constant(name, array.astype(wide))
        for name, array in zip(names, arrays, strict=True)
    ]
    return [made[0], scale, made[1]]


REPLACE: dict[str, Replace] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    "DequantizeLinear": _dequantize,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
    "QLinearSoftmax": _softmax,
    "QLinearWhere": _where,
    "QuantizeLinear": _quantize,
}
