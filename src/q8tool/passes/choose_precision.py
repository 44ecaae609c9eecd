"""Choose precision: which operators become eight-bit, and in which form.

An operator with constant weights becomes eight-bit: static where the range of its input is known,
dynamic (range taken at run time) where it is not; a depthwise convolution of unknown range stays
float, which is faster and more accurate. Everything else follows what it feeds: an Add,
a pooling or a Sigmoid becomes eight-bit where an eight-bit operator behind it wants codes and all
ranges are known; it stays float where only float reads it, so that the last layers lose nothing.

    walk backwards:  Conv wants codes of x  ->  x's producer delivers codes  ->  it wants codes ...

A Relu or Clip that is the only reader of an operator's result belongs to it: one unit, one range.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import constant, get_int, get_string
from q8tool.ops.registry import Quantization, row

__all__ = ["UNREAD", "Choice", "Unit", "choose_precision"]

UNREAD = "only float reads its result"
"""The reason of what would gain nothing from eight bits."""

Form = Literal["static", "dynamic"]


@dataclass(frozen=True)
class Unit:
    """One operator, and the clamp behind it, that becomes eight-bit.

    activations  indices of the inputs that are quantized as activations
    output       the value that the unit delivers: the clamp's if there is one
    """

    node: ir.Node
    kind: Quantization
    form: Form
    activations: tuple[int, ...]
    output: ir.Value

    @property
    def inputs(self) -> list[ir.Value]:
        """The activations themselves."""
        values = (self.node.inputs[index] for index in self.activations)
        return [value for value in values if value is not None]


@dataclass
class Choice:
    """The units in graph order, the names of values whose codes are wanted, and who stays float.

    kept  (node, reason) of operators that could have been eight-bit
    """

    units: list[Unit] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    kept: list[tuple[ir.Node, str]] = field(default_factory=list)

    def tensors(self, delivered: bool = False) -> list[str]:
        """Names of the values whose ranges the static units need, in graph order.

        Without constants, and without what data movement passes on: that has its input's range.
        delivered  with all results of operators that have weights, whoever reads them
        """
        moved = {value for unit in self.units if unit.kind == "same" for value in unit.node.outputs}
        names: dict[str, None] = {}
        for unit in self.units:
            if unit.form == "static":
                wants_output = unit.output.name in self.wanted
                wants_output |= delivered and unit.kind == "weights"
                values = [*unit.inputs, *([unit.output] if wants_output else [])]
                for value in values:
                    if value not in moved and constant(value) is None:
                        names[value.name or ""] = None
        return list(names)


def choose_precision(
    model: ir.Model,
    is_known: Callable[[ir.Value], bool],
    excluded: Iterable[ir.Node] = (),
) -> Choice:
    """The choice for the main graph. is_known: whether a value's range is known before run time."""
    choice = Choice()
    left_out, inside = set(excluded), set[ir.Node]()  # inside: steps of another unit's table
    for node in reversed(list(model.graph)):
        found = row(node.domain, node.op_type)
        if found is None or found.quantization == "none":
            continue
        if node in inside:
            continue
        if node in left_out:
            choice.kept.append((node, "excluded"))
            continue
        unit = _unit(node, found.quantization, choice.wanted, is_known)
        if isinstance(unit, str):
            if unit:
                choice.kept.append((node, unit))
            continue
        choice.units.append(unit)
        gate = _gate(node)
        if gate is not None:
            inside.update(gate[1])
        if unit.form == "static":
            choice.wanted.update(value.name or "" for value in unit.inputs)
    choice.units.reverse()
    choice.kept.reverse()
    return choice


def _unit(
    node: ir.Node, kind: Quantization, wanted: set[str], is_known: Callable[[ir.Value], bool]
) -> Unit | str:
    """The unit that the node becomes, or why it stays float ("" if it never was a candidate)."""
    if _is_clamp(node) and _owner_of_clamp(node) is not None:
        return ""
    activations = _activations(node, kind)
    if isinstance(activations, str):
        return activations
    unit = Unit(node, kind, "static", activations, _output(node, kind))
    inputs_known = all(is_known(value) for value in unit.inputs)
    if kind == "weights":
        if inputs_known:
            return unit
        if activations == (0,) and node.op_type in ("Conv", "MatMul", "Gemm"):
            if _is_depthwise(node):
                return "a range at run time would cost more than it saves"
            return replace(unit, form="dynamic")
        return "the range of its input is not known before run time"
    if not any(value.name in wanted for value in (unit.output, *node.outputs)):
        return UNREAD
    if not inputs_known or (kind != "same" and not is_known(unit.output)):
        return "a range is not known before run time"
    return unit


def _is_depthwise(node: ir.Node) -> bool:
    """One input channel per group: each value is read for a handful of products only."""
    weights = constant(node.inputs[1])
    return get_int(node, "group", 1) > 1 and weights is not None and weights.shape[1] == 1


def _activations(node: ir.Node, kind: Quantization) -> tuple[int, ...] | str:
    """Which inputs are quantized as activations, or why the node cannot be eight-bit."""
    if kind == "weights":
        return _weight_activations(node)
    count = len(node.inputs) if kind in ("binary", "concat") else 1
    inputs = node.inputs[:count]
    if any(value is None or not _is_float(value) for value in inputs):
        return ""
    if kind == "binary" and all(constant(value) is not None for value in inputs):
        return ""
    if node.op_type == "MaxPool" and any(value.uses() for value in node.outputs[1:]):
        return "its indices are read"
    if node.op_type == "Pad" and not _pads_with_zero(node):
        return "it pads with something else than 0"
    gate = _gate(node)
    return tuple(range(count)) if gate is None else (gate[0],)


def _gate(node: ir.Node) -> tuple[int, list[ir.Node]] | None:
    """Of x * f(x), such as x * Sigmoid(x), which input is x and the nodes of f; else None.

    All of it is one table of x's codes as long as nothing in between is rounded.
    """
    if node.op_type != "Mul":
        return None
    for index in (0, 1):
        x, value = node.inputs[index], node.inputs[1 - index]
        steps = _steps_between(x, value) if x is not None and value is not None else None
        if steps:
            return index, steps
    return None


def _steps_between(x: ir.Value, value: ir.Value) -> list[ir.Node] | None:
    """The nodes by which a value follows from x element by element, if nobody else sees a step."""
    steps: list[ir.Node] = []
    while value is not x:
        producer = value.producer()
        if producer is None or len(list(value.uses())) != 1 or value.is_graph_output():
            return None
        found = row(producer.domain, producer.op_type)
        is_elementwise = found is not None and (
            found.quantization in ("table", "binary") or producer.op_type == "Div"
        )
        varying = [v for v in producer.inputs if v is not None and not _is_number(v)]
        if not is_elementwise or len(varying) != 1:
            return None
        steps.append(producer)
        value = varying[0]
    return steps


def _is_number(value: ir.Value) -> bool:
    array = constant(value)
    return array is not None and array.size == 1


def _weight_activations(node: ir.Node) -> tuple[int, ...] | str:
    if any(value is not None and not _is_float(value) for value in node.inputs):
        return "it does not compute in float32"
    weights = constant(node.inputs[1])
    if node.op_type == "MatMul" and weights is None:
        return "its left side is constant" if constant(node.inputs[0]) is not None else (0, 1)
    if weights is None:
        return "its weights are not constant"
    if not np.isfinite(weights).all():
        return "its weights hold NaN or infinity"
    if node.op_type == "Gemm" and get_int(node, "transA", 0):
        return "its left side is transposed"
    if node.op_type == "MatMul" and weights.ndim != 2:
        return "its weights are not a matrix"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is not constant"
        if node.op_type == "Gemm" and not _is_per_column(bias, weights, node):
            return "its bias differs from row to row"
    return (0,)


def _is_per_column(bias: NDArray[Any], weights: NDArray[Any], node: ir.Node) -> bool:
    columns = weights.shape[0 if get_int(node, "transB", 0) else 1]
    return bias.size == 1 or bias.size == bias.shape[-1] == columns


def _pads_with_zero(node: ir.Node) -> bool:
    """True if the padding is a value that every range holds, or one of the input's own."""
    if get_string(node, "mode", "constant") != "constant":
        return True
    value = node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(value)
    return value is None or (array is not None and not np.any(array))


def _output(node: ir.Node, kind: Quantization) -> ir.Value:
    """The value that the unit delivers: behind a clamp that reads nobody else."""
    value = node.outputs[0]
    clamp = _clamp_behind(node) if kind in ("weights", "binary") else None
    return value if clamp is None else clamp.outputs[0]


def _clamp_behind(node: ir.Node) -> ir.Node | None:
    value = node.outputs[0]
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].idx != 0:
        return None
    reader = uses[0].node
    return reader if _is_clamp(reader) and reader.graph is node.graph else None


def _is_clamp(node: ir.Node) -> bool:
    if node.op_type == "Relu":
        return True
    return node.op_type == "Clip" and all(
        value is None or constant(value) is not None for value in node.inputs[1:]
    )


def _owner_of_clamp(node: ir.Node) -> ir.Node | None:
    """The operator whose unit the clamp belongs to."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    if producer is None:
        return None
    found = row(producer.domain, producer.op_type)
    if found is None or found.quantization not in ("weights", "binary"):
        return None
    return producer if _clamp_behind(producer) is node else None


def _is_float(value: ir.Value) -> bool:
    return value.dtype in (ir.DataType.FLOAT, None)
