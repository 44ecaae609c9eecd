"""Arithmetic, bits and clamps of integers and of float64: in their own types.

int8 is worked on as it is, not as it is stored, 128 higher.
"""

from collections.abc import Sequence

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["INTEGERS", "LOWERINGS", "lower_arithmetic", "lower_sign_arithmetic"]

INTEGERS = frozenset(np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
_TYPES = INTEGERS | {np.dtype(np.float64)}
_OPERATIONS = ("add", "sub", "mul", "div", "min", "max")
_BITS = {"BitwiseAnd": "and", "BitwiseOr": "or", "BitwiseXor": "xor"}


def lower_arithmetic(lowering: Lowering, node: Node, values: Sequence[Value], op: str) -> None:
    """One step per further operand. Raises Declined for types and operators that C has not."""
    y = lowering.output(node)
    if any(value.dtype != y.dtype for value in values) or y.dtype not in _TYPES:
        raise Declined("its inputs are not float32")
    if op not in _OPERATIONS or node.op_type == "Mean":
        raise Declined(f"{node.op_type} of {y.dtype} has no C kernel")
    tensors = [_broadcast(lowering, value, y) for value in values]
    _emit(lowering, y, [(op, tensor) for tensor in tensors])


def lower_sign_arithmetic(lowering: Lowering, node: Node) -> None:
    """Neg, Abs, Relu, and Clip with bounds of the run. Raises Declined for all others."""
    x, y = lowering.input(node, 0), lowering.output(node)
    if node.op_type not in ("Neg", "Abs", "Relu", "Clip") or x.dtype not in _TYPES:
        raise Declined("its input is not float32")
    given = _broadcast(lowering, x, y)
    zero = constant_tensor(np.zeros([1] * y.rank, y.dtype))
    if node.op_type in ("Neg", "Abs") and y.dtype == np.float64:
        raise Declined(f"{node.op_type} of {y.dtype} has no C kernel")
    if node.op_type == "Neg":
        steps = [("", zero), ("sub", given)]
    elif node.op_type == "Abs":
        steps = [("", zero), ("sub", given), ("max", given)]
    elif node.op_type == "Relu":
        steps = [("", given), ("max", zero)]
    else:
        steps = [("", given)]
        for position, op in ((1, "max"), (2, "min")):
            bound = lowering.optional(node, position)
            if bound is not None:
                steps.append((op, _broadcast(lowering, bound, y)))
    _emit(lowering, y, steps)


def lower_integers(lowering: Lowering, node: Node) -> None:
    """Rests of divisions, and bits."""
    values = [lowering.input(node, position) for position in range(len(node.inputs))]
    y = lowering.output(node)
    if any(value.dtype != y.dtype for value in values) or y.dtype not in INTEGERS:
        raise Declined(f"{node.op_type} of {y.dtype} has no C kernel")
    steps = [("", _broadcast(lowering, values[0], y))]
    if node.op_type == "BitwiseNot":
        ones = ~np.zeros([1] * y.rank, y.dtype)
        steps.append(("xor", constant_tensor(ones)))
    elif node.op_type == "Mod":
        op = "rest" if node.attributes.get("fmod", 0) else "mod"
        steps.append((op, _broadcast(lowering, values[1], y)))
    else:
        steps.append((_BITS[node.op_type], _broadcast(lowering, values[1], y)))
    _emit(lowering, y, steps)


def _broadcast(lowering: Lowering, value: Value, y: Value) -> Tensor:
    """The value with leading ones up to y's rank."""
    tensor = lowering.form(value, _layout(value))
    return tensor.view((1,) * (y.rank - value.rank) + tensor.shape)


def _layout(value: Value) -> Layout:
    return Layout.RAW if value.dtype == np.int8 else Layout.PLAIN


def _emit(lowering: Lowering, y: Value, steps: Sequence[tuple[str, Tensor]]) -> None:
    """The first tensor, then each operation with the next one; the last gives y."""
    _, result = steps[0]
    for place, (op, other) in enumerate(steps[1:], 2):
        if place == len(steps):
            target = lowering.new_form(y, _layout(y))
        else:
            target = new_tensor(result.dtype, np.broadcast_shapes(result.shape, other.shape))
        lowering.emit("arithmetic", {"a": result, "b": other}, {"y": target}, op=op)
        result = target
    y.forms = {_layout(y): result}


LOWERINGS: dict[str, LoweringFunction] = dict.fromkeys(
    ["Mod", *_BITS, "BitwiseNot"], lower_integers
)
