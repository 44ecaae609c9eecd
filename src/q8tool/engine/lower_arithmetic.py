"""Add, Sub, Mul, Div, Min, Max and clamps of integers and of float64: in their own types.

int8 is worked on as it is, not as it is stored, 128 higher.
"""

from collections.abc import Sequence

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, constant_tensor
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["INTEGERS", "lower_arithmetic", "lower_clamp_arithmetic"]

INTEGERS = frozenset(np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
_TYPES = INTEGERS | {np.dtype(np.float64)}
_OPERATIONS = ("add", "sub", "mul", "div", "min", "max")


def lower_arithmetic(lowering: Lowering, node: Node, values: Sequence[Value], op: str) -> None:
    """One step per further operand. Raises Declined for types and operators that C has not."""
    y = lowering.output(node)
    if any(value.dtype != y.dtype for value in values) or y.dtype not in _TYPES:
        raise Declined("its inputs are not float32")
    if op not in _OPERATIONS or node.op_type == "Mean":
        raise Declined(f"{node.op_type} of {y.dtype} has no C kernel")
    tensors = [_broadcast(lowering, value, y) for value in values]
    _emit(lowering, y, [(op, tensor) for tensor in tensors])


def lower_clamp_arithmetic(lowering: Lowering, node: Node) -> None:
    """Relu and Clip, whose bounds may come at run time. Raises Declined for all others."""
    x, y = lowering.input(node, 0), lowering.output(node)
    if node.op_type not in ("Relu", "Clip") or x.dtype not in _TYPES:
        raise Declined("its input is not float32")
    steps = [("", _broadcast(lowering, x, y))]
    if node.op_type == "Relu":
        zero = constant_tensor(np.zeros([1] * y.rank, y.dtype))
        steps.append(("max", zero))
    else:
        for position, op in ((1, "max"), (2, "min")):
            bound = lowering.optional(node, position)
            if bound is not None:
                steps.append((op, _broadcast(lowering, bound, y)))
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
