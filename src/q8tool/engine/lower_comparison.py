"""Equal, Less, Greater and what is made of truth values, which are bytes of 0 and 1."""

from collections.abc import Sequence

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.strided import operand_forms
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined

__all__ = ["LOWERINGS"]

# C's comparison, and whether its operands change places.
_COMPARISONS = {
    "Equal": ("equal", False),
    "Less": ("less", False),
    "LessOrEqual": ("less_equal", False),
    "Greater": ("less", True),
    "GreaterOrEqual": ("less_equal", True),
}
_HALVES = ("float16", "bfloat16")


def lower_comparison(lowering: Lowering, node: Node) -> None:
    """Of two tensors of one type."""
    values = [lowering.input(node, position) for position in range(2)]
    y = lowering.output(node)
    dtype = np.dtype(values[0].dtype)
    if values[1].dtype != dtype or dtype.name in _HALVES:
        raise Declined(f"a comparison of {dtype} has no C kernel")
    op, is_turned = _COMPARISONS[node.op_type]
    layout, forms = operand_forms(lowering, values, y.rank)
    _emit(lowering, node, op, forms[::-1] if is_turned else forms, layout)


def lower_is_nan(lowering: Lowering, node: Node) -> None:
    """What does not equal itself."""
    x, y = lowering.input(node, 0), lowering.output(node)
    if x.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise Declined(f"{node.op_type} of {x.dtype} has no C kernel")
    layout, (form,) = operand_forms(lowering, [x], y.rank)
    equal = new_tensor(np.bool_, form.shape)
    lowering.emit("compare", {"a": form, "b": form}, {"y": equal}, op="equal")
    target = lowering.new_form(y, layout)
    lowering.emit("compare", {"a": equal, "b": _false(y.rank)}, {"y": target}, op="equal")


def lower_logic(lowering: Lowering, node: Node) -> None:
    """And is the least of truth values, Or the greatest; others compare them."""
    values = [lowering.input(node, position) for position in range(len(node.inputs))]
    y = lowering.output(node)
    layout, forms = operand_forms(lowering, values, y.rank)
    if node.op_type == "Not":
        _emit(lowering, node, "equal", [*forms, _false(y.rank)], layout)
        return
    reads = dict(zip("ab", forms, strict=True))
    op = {"And": "min", "Or": "max", "Xor": "xor"}[node.op_type]
    lowering.emit("arithmetic", {**reads}, {"y": lowering.new_form(y, layout)}, op=op)


def _emit(lowering: Lowering, node: Node, op: str, forms: Sequence[Tensor], layout: Layout) -> None:
    # Truth values have no third layout, as int8 has.
    place = Layout.PLAIN if layout is Layout.RAW else layout
    target = lowering.new_form(lowering.output(node), place)
    lowering.emit("compare", {"a": forms[0], "b": forms[1]}, {"y": target}, op=op)


def _false(rank: int) -> Tensor:
    return constant_tensor(np.zeros([1] * rank, np.bool_))


LOWERINGS: dict[str, LoweringFunction] = {
    **dict.fromkeys(_COMPARISONS, lower_comparison),
    **dict.fromkeys(["And", "Or", "Xor", "Not"], lower_logic),
    "IsNaN": lower_is_nan,
}
