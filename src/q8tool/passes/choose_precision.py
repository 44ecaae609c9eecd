"""Choose precision: which operators become eight-bit, and in which form.

An operator with constant weights becomes eight-bit: static where the range of its input is known,
dynamic (range taken at run time) where it is not and that is faster than float, which depthwise
and other narrow convolutions are not. Everything else follows what it feeds: an Add,
a pooling or a Sigmoid becomes eight-bit where an eight-bit operator behind it wants codes and all
ranges are known; it stays float where only float reads it, so that the last layers lose nothing.

    walk backwards:  Conv wants codes of x  ->  x's producer delivers codes  ->  it wants codes ...

A Relu or Clip that is the only reader of an operator's result belongs to it: one unit, one range.
So does the Add of a constant row behind a MatMul, its bias. Elementwise nodes that compute one
function of one tensor (GELU, SiLU) are one unit: nothing inside is rounded.
"""

import math
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import constant, get_int, get_ints, get_string, nodes_named
from q8tool.ops.registry import Quantization, leaves_range, row
from q8tool.passes.conversions import is_depthwise
from q8tool.passes.one_input import OneInput, is_number, one_input
from q8tool.passes.run_time_gain import FEW_PRODUCTS, gains_at_run_time, values_in_lines

__all__ = ["UNREAD", "Choice", "Unit", "choose_precision"]

UNREAD = "only float reads its result"
"""The reason of what would gain nothing from eight bits."""

# Between a tensor and the factor that normalizes it lie half a dozen nodes.
_MOST_STEPS = 16

Form = Literal["static", "dynamic"]


@dataclass(frozen=True)
class Unit:
    """One operator, and the clamp behind it, that becomes eight-bit.

    node         of a function of one tensor the last one
    activations  (node, index) of the inputs that are quantized as activations, in graph order
    output       the value that the unit delivers: that of its bias or clamp if there is one
    """

    node: ir.Node
    kind: Quantization
    form: Form
    activations: tuple[tuple[ir.Node, int], ...]
    output: ir.Value

    @property
    def inputs(self) -> list[ir.Value]:
        """The activations themselves, each once."""
        values = (node.inputs[index] for node, index in self.activations)
        return list(dict.fromkeys(value for value in values if value is not None))

    @property
    def has_weights(self) -> bool:
        """True if all but one of its factors are constant."""
        return self.kind == "weights" and len(self.activations) == 1


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

    def shared_weights(self) -> frozenset[ir.Value]:
        """Weights that several operators read, before any is replaced.

        Their scale follows from them alone, so that they are in the file once.
        """
        weights = [unit.node.inputs[1] for unit in self.units if unit.has_weights]
        return frozenset(w for w in weights if w is not None and len(w.uses()) > 1)


def choose_precision(
    model: ir.Model,
    known: Container[str] | None,
    excluded: Collection[str] = (),
) -> Choice:
    """The choice for the main graph.

    known     names of the values whose range is known before run time; None: of all values
    excluded  names of nodes that stay float (model.graph.node_name)

    Where nothing would gain enough to become eight-bit, what can be is.
    """
    left_out = nodes_named(model, excluded)
    choice = _choice(model, known, left_out, takes_all=False)
    if not choice.units:
        choice = _choice(model, known, left_out, takes_all=True)
    return choice


def _choice(
    model: ir.Model,
    known: Container[str] | None,
    left_out: Collection[ir.Node],
    takes_all: bool,
) -> Choice:
    """takes_all: a range at run time, even where float is faster."""

    def is_known(value: ir.Value) -> bool:
        return known is None or value.name in known

    choice = Choice()
    inside = set[ir.Node]()  # steps of another unit's table
    order = {node: position for position, node in enumerate(model.graph)}
    lines = values_in_lines(order)
    for node in reversed(order):
        if node in inside:
            continue
        function = one_input(node, lambda other: other in left_out or _has_owner(other))
        kind = _quantization(node)
        if kind == "none" and function is not None:
            kind = "table"
        if kind == "none":
            continue
        if node in left_out:
            choice.kept.append((node, "excluded"))
            continue
        unit = _unit(node, kind, function, choice.wanted, is_known)
        if isinstance(unit, Unit) and unit.form == "dynamic" and not takes_all:
            delivers_codes = unit.output.name in choice.wanted and is_known(unit.output)
            in_lines = unit.output in lines
            unit = unit if gains_at_run_time(node, delivers_codes, in_lines) else FEW_PRODUCTS
        if isinstance(unit, str):
            if unit:
                choice.kept.append((node, unit))
            continue
        places = sorted(unit.activations, key=lambda place: (order[place[0]], place[1]))
        choice.units.append(replace(unit, activations=tuple(places)))
        if function is not None:
            inside.update(function.nodes)
        if unit.form == "static":
            choice.wanted.update(value.name or "" for value in unit.inputs)
    choice.units.reverse()
    choice.kept.reverse()
    return choice


def _unit(
    node: ir.Node,
    kind: Quantization,
    function: OneInput | None,
    wanted: set[str],
    is_known: Callable[[ir.Value], bool],
) -> Unit | str:
    """The unit that the node becomes, or why it stays float ("" if it never was a candidate)."""
    if _has_owner(node):
        return ""
    activations = _activations(node, kind, function)
    if isinstance(activations, str):
        return activations
    unit = Unit(node, kind, "static", activations, _output(node, kind))
    inputs_known = all(is_known(value) for value in unit.inputs)
    if kind == "weights":
        if inputs_known:
            return unit
        if unit.has_weights and node.op_type in ("Conv", "MatMul", "Gemm"):
            if is_depthwise(node):
                return "a range at run time would cost more than it saves"
            return replace(unit, form="dynamic")
        return "the range of its input is not known before run time"
    if not any(value.name in wanted for value in (unit.output, *node.outputs)):
        return UNREAD
    if kind == "same" and _picks_from_floats(node):
        return "it picks a part of floats: that part is rounded, by its own range"
    if kind == "binary" and _scales_floats(node):
        return "it scales or shifts floats: they are rounded once, behind it"
    if kind == "binary" and _normalizes(node):
        return "it normalizes: what divides by a mean of its input is not rounded"
    if function is not None and _is_made_of_floats(function.x):
        return "it is a function of floats: they are rounded once, behind it"
    if not inputs_known or (kind != "same" and not is_known(unit.output)):
        return "a range is not known before run time"
    return unit


def _picks_from_floats(node: ir.Node) -> bool:
    """True for a Gather or Slice that makes less of what no eight-bit operator can deliver.

    The first token behind a LayerNormalization, say: its range is narrower than that of all.
    """
    x, y = node.inputs[0], node.outputs[0]
    if node.op_type not in ("Gather", "Slice") or x is None or x.shape is None or y.shape is None:
        return False
    sizes = [math.prod(d for d in shape if isinstance(d, int)) for shape in (x.shape, y.shape)]
    source = _maker(x)
    if source is None or _quantization(source) != "none":
        return False
    return sizes[1] < sizes[0] and one_input(source, lambda other: False) is None


def _scales_floats(node: ir.Node) -> bool:
    """True for arithmetic of a constant and of what no eight-bit operator can deliver.

    A group normalization's scale and bias, say: each would be a rounding more.
    """
    varying = [value for value in node.inputs if value is not None and constant(value) is None]
    return len(varying) == 1 and len(node.inputs) > 1 and _is_made_of_floats(varying[0])


def _is_made_of_floats(value: ir.Value) -> bool:
    """True for what a normalization, say, delivers, also where it is scaled or shifted then."""
    source = _maker(value)
    if source is None:
        return False
    if _quantization(source) == "binary":
        return _scales_floats(source) or _normalizes(source)
    return _quantization(source) == "none" and one_input(source, lambda other: False) is None


def _normalizes(node: ir.Node) -> bool:
    """True for x times the reciprocal of what is reduced from x, as exporters spell RMSNorm out.

    Where x is next to nothing the factor is a thousand times what it is elsewhere: no step of a
    common scale holds both.
    """
    first, second = node.inputs[:2]
    return node.op_type == "Mul" and (_divides_by(first, second) or _divides_by(second, first))


def _divides_by(factor: ir.Value | None, x: ir.Value | None) -> bool:
    """True if factor is a reciprocal of a reduction of x, with nothing but numbers in between."""
    reduces, divides, seen = False, False, 0
    while factor is not None and factor is not x and seen < _MOST_STEPS:
        maker, seen = factor.producer(), seen + 1
        read = (
            []
            if maker is None
            else [v for v in maker.inputs if v is not None and constant(v) is None]
        )
        if maker is None or len(set(read)) != 1 or _quantization(maker) == "weights":
            return False
        reduces |= maker.op_type.startswith("Reduce")
        divides |= maker.op_type == "Reciprocal" or _is_power_below_0(maker)
        divides |= maker.op_type == "Div" and maker.inputs[1] is read[0]
        factor = read[0]
    return factor is x and reduces and divides


def _is_power_below_0(node: ir.Node) -> bool:
    power = constant(node.inputs[1]) if node.op_type == "Pow" else None
    return power is not None and bool((power < 0).all())


def _maker(value: ir.Value) -> ir.Node | None:
    """Who computes the value, seen through data movement; None for the graph's inputs."""
    node = value.producer()
    while node is not None and _quantization(node) == "same" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _quantization(node: ir.Node) -> Quantization:
    found = row(node.domain, node.op_type)
    return "none" if found is None else found.quantization


def _activations(
    node: ir.Node, kind: Quantization, function: OneInput | None
) -> tuple[tuple[ir.Node, int], ...] | str:
    """Which inputs are quantized as activations, or why the node cannot be eight-bit."""
    if kind == "weights":
        indices = _weight_activations(node)
        return indices if isinstance(indices, str) else tuple((node, i) for i in indices)
    if function is not None:
        return function.places if _is_float(function.x) else ""
    count = len(node.inputs) if kind in ("binary", "concat") else 1
    inputs = node.inputs[:count]
    if any(value is None or not _is_float(value) for value in inputs):
        return ""
    if kind == "binary" and all(constant(value) is not None for value in inputs):
        return ""
    if node.op_type == "PRelu" and constant(node.inputs[1]) is None:
        return "its slopes are not constant"
    if node.op_type == "ReduceMean" and not _averages_codes(node):
        return "it averages other dimensions than a pooling"
    if node.op_type == "MaxPool" and any(value.uses() for value in node.outputs[1:]):
        return "its indices are read"
    if leaves_range(node):
        return "its results leave the range of its input"
    if node.op_type == "Pad" and not _pads_with_zero(node):
        return "it pads with something else than 0"
    return tuple((node, index) for index in range(count))


def _weight_activations(node: ir.Node) -> tuple[int, ...] | str:
    if any(value is not None and not _is_float(value) for value in node.inputs):
        return "it does not compute in float32"
    weights = constant(node.inputs[1])
    if node.op_type == "MatMul" and (weights is None or weights.ndim != 2):
        return _both_sides(node)
    if weights is None:
        return "its weights are not constant"
    if weights.ndim < 2:
        return "its weights are no matrix"
    if not np.isfinite(weights).all():
        return "its weights hold NaN or infinity"
    if node.op_type == "Gemm" and get_int(node, "transA", 0):
        return "its left side is transposed"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is not constant"
        if node.op_type == "Gemm" and not _is_per_column(bias, weights, node):
            return "its bias differs from row to row"
    return (0,)


def _both_sides(node: ir.Node) -> tuple[int, ...] | str:
    """The sides of a MatMul without a weight matrix: both are activations, a constant one too."""
    sides = [constant(value) for value in node.inputs]
    if all(side is not None for side in sides):
        return "it is constant"
    if any(side is not None and not np.isfinite(side).all() for side in sides):
        return "its weights hold NaN or infinity"
    return (0, 1)


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


def _averages_codes(node: ir.Node) -> bool:
    """True for means of the whole picture, or of adjacent dimensions before the last one."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    axes = get_ints(node, "axes", [])
    if len(node.inputs) > 1:
        array = constant(node.inputs[1])
        axes = [] if array is None else [int(axis) for axis in array.ravel()]
    if shape is None or not axes:
        return False
    rank = len(shape)
    found = sorted({axis % rank for axis in axes if -rank <= axis < rank})
    is_run = found == list(range(found[0], found[-1] + 1)) if found else False
    return is_run and (found[-1] < rank - 1 or (found[0] == 2 and rank in (3, 4, 5)))


def _output(node: ir.Node, kind: Quantization) -> ir.Value:
    """The value that the unit delivers: behind a bias and a clamp that read nobody else."""
    bias = _bias_behind(node) if kind == "weights" else None
    clamp = _clamp_behind(bias or node) if _takes_clamp(bias or node) else None
    return (clamp or bias or node).outputs[0]


def _clamp_behind(node: ir.Node) -> ir.Node | None:
    reader = _sole_reader(node)
    if reader is None or reader.inputs[0] is not node.outputs[0]:
        return None
    return reader if _is_clamp(reader) else None


def _bias_behind(node: ir.Node) -> ir.Node | None:
    """The Add of a constant row, or of a number, behind a MatMul with constant weights."""
    reader = _sole_reader(node) if node.op_type == "MatMul" else None
    weights = constant(node.inputs[1]) if reader is not None else None
    if reader is None or reader.op_type != "Add" or weights is None or weights.ndim != 2:
        return None
    other = reader.inputs[1 if reader.inputs[0] is node.outputs[0] else 0]
    bias = constant(other)
    if bias is None or bias.size not in (1, weights.shape[1]) or not np.isfinite(bias).all():
        return None
    rank = len(node.outputs[0].shape) if node.outputs[0].shape is not None else 1
    # More dimensions than the product has would widen it; a column is no row.
    return reader if bias.ndim <= rank and bias.shape[-1:] in ((), (bias.size,)) else None


def _sole_reader(node: ir.Node) -> ir.Node | None:
    value = node.outputs[0]
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    return uses[0].node if uses[0].node.graph is node.graph else None


def _is_clamp(node: ir.Node) -> bool:
    if node.op_type == "Relu":
        return True
    return node.op_type == "Clip" and all(
        value is None or constant(value) is not None for value in node.inputs[1:]
    )


def _has_owner(node: ir.Node) -> bool:
    """True for a clamp or bias that belongs to the operator before it."""
    for value in node.inputs if node.op_type == "Add" else node.inputs[:1]:
        producer = value.producer() if value is not None else None
        if producer is None:
            continue
        if _bias_behind(producer) is node:
            return True
        if _is_clamp(node) and _takes_clamp(producer) and _clamp_behind(producer) is node:
            return True
    return False


def _takes_clamp(node: ir.Node) -> bool:
    """True for products, their biases, and for what joins two tensors."""
    kind = _quantization(node)
    joins = kind == "binary" and not any(is_number(value) for value in node.inputs)
    return kind == "weights" or joins or _is_bias(node)


def _is_bias(node: ir.Node) -> bool:
    producers = (value.producer() for value in node.inputs if value is not None)
    return any(producer is not None and _bias_behind(producer) is node for producer in producers)


def _is_float(value: ir.Value) -> bool:
    return value.dtype in (ir.DataType.FLOAT, None)
