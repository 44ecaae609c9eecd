"""Fold shapes: shape arithmetic goes even where some dimension stays symbolic.

    s = Shape(x: N,3,8,8); c = Gather(s, 1)                 ->     c = [3]
    n = Gather(s, 0); t = Concat(n, [192])
    y = Reshape(x, t)                                       ->     y = Reshape(x, [0, 192])

A Reshape that only asks for the input's own N gets 0 ("as in the input"); with one unknown size
that is not the input's, -1 ("what is left").
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import InputError
from q8tool.model import shapes
from q8tool.model.change import Change
from q8tool.model.graph import Names, constant, get_int, make_initializer, node_label
from q8tool.passes.fold_constants import replace_by_constants

__all__ = ["fold_shapes"]

# Sizes that are not known are numbers below this one: one per symbolic dimension, and the lowest
# for those that nobody can name. Real sizes, -1 and indices are far above.
_UNKNOWN = -(2**40)
_NAMELESS = -(2**41)
# Shapes have few elements; larger arrays are data.
_MOST_ELEMENTS = 64

_MOVING = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"}
)
_ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})

Sizes = npt.NDArray[Any]


def fold_shapes(model: ir.Model) -> list[Change]:
    """Replace sizes that follow from known dimensions, and targets of Reshape; main graph only.

    Shapes must have been inferred. Repeats while that makes more of them known.
    """
    changes: list[Change] = []
    names = Names(model.graph)
    while True:
        shapes.infer_shapes(model)
        known = _Known(model)
        found = [change for node in list(model.graph) for change in _fold(node, known, names)]
        if not found:
            return changes
        changes += found


def _fold(node: ir.Node, known: "_Known", names: Names) -> list[Change]:
    sizes = known.result(node)
    if sizes is not None and (sizes > _UNKNOWN).all():
        dtype = node.outputs[0].dtype
        array = sizes.astype(dtype.numpy() if dtype is not None else np.int64)
        if replace_by_constants(node, [array]):
            return [Change("fold_shapes", node_label(node), "its sizes are known")]
    if node.op_type == "Reshape" and node.domain == "":
        return _simplify_reshape(node, known, names)
    return []


def _simplify_reshape(node: ir.Node, known: "_Known", names: Names) -> list[Change]:
    data, target = node.inputs[0], node.inputs[1]
    sizes = known.of(target)
    if sizes is None or constant(target) is not None or get_int(node, "allowzero", 0):
        return []
    assert data is not None
    static = _static_target(sizes, known.dims(data))
    if static is None:
        return []
    assert isinstance(node.graph, ir.Graph)
    weight = make_initializer(node.graph, names.new(f"{node.outputs[0].name}_shape"), static)
    node.replace_input_with(1, weight)
    return [Change("fold_shapes", node_label(node), f"target is now {static.tolist()}")]


def _static_target(sizes: Sizes, source: Sizes | None) -> Sizes | None:
    """The target of a Reshape in numbers, 0 and -1, or None where sizes stay unknown."""
    if (sizes == 0).any():
        return None  # a computed 0 already means "as in the input"
    target = sizes.copy()
    for axis, size in enumerate(sizes):
        same = source is not None and axis < len(source) and source[axis] == size
        if _NAMELESS < size <= _UNKNOWN and same:
            target[axis] = 0
    unknown = np.flatnonzero(target <= _UNKNOWN)
    if len(unknown) > 1 or (len(unknown) == 1 and (target == -1).any()):
        return None
    target[unknown] = -1
    return target.astype(np.int64)


class _Known:
    """What is known of the sizes that a graph computes, value by value, in the order of nodes."""

    def __init__(self, model: ir.Model) -> None:
        self._opsets = model.opset_imports
        self._numbers: dict[str, int] = {}
        self._sizes: dict[ir.Value, Sizes] = {}

    def of(self, value: ir.Value | None) -> Sizes | None:
        """Sizes held by a value: of a constant, or of a node seen before."""
        if value is None:
            return None
        if value in self._sizes:
            return self._sizes[value]
        dims = shapes.static_shape(value)
        if dims is None or int(np.prod(dims)) > _MOST_ELEMENTS:
            return None
        array = constant(value)
        return array if array is not None and array.dtype.kind in "iu" else None

    def dims(self, value: ir.Value | None) -> Sizes | None:
        """The dimensions of a value, unknown ones as numbers of their own."""
        if value is None or value.shape is None:
            return None
        return np.array([self._number(dim) for dim in value.shape], np.int64)

    def _number(self, dim: int | ir.SymbolicDim) -> int:
        if isinstance(dim, int):
            return dim
        if dim.value is None:
            return _NAMELESS
        return self._numbers.setdefault(dim.value, _UNKNOWN - len(self._numbers))

    def result(self, node: ir.Node) -> Sizes | None:
        """Sizes that the first output of a node holds, remembered for the nodes after it."""
        rule = self._rule(node)
        sizes = rule(node) if rule is not None else None
        if sizes is not None:
            self._sizes[node.outputs[0]] = sizes
        return sizes

    def _rule(self, node: ir.Node) -> Callable[[ir.Node], Sizes | None] | None:
        if node.domain != "":
            return None
        if node.op_type == "Shape":
            return self._shape
        if node.op_type in _MOVING:
            return self._moved
        return self._arithmetic if node.op_type in _ARITHMETIC else None

    def _shape(self, node: ir.Node) -> Sizes | None:
        dims = self.dims(node.inputs[0])
        if dims is None:
            return None
        return dims[get_int(node, "start", 0) : get_int(node, "end", len(dims))]

    def _moved(self, node: ir.Node) -> Sizes | None:
        """Data movement carries the numbers of unknown sizes along as it carries sizes."""
        inputs = self._inputs(node)
        if inputs is None or (node.op_type == "Cast" and not _casts_to_int64(node)):
            return None
        arguments = [] if node.op_type == "Concat" else inputs[1:]
        if any((array <= _UNKNOWN).any() for array in arguments):
            return None
        names = [value.name or "" for value in node.inputs if value is not None]
        try:
            from q8tool.ops.host import HostOperator  # loads all of onnx.reference

            results = HostOperator(ir.to_proto(node), names, self._opsets).run(inputs)
        except InputError:
            return None
        return np.asarray(results[0])

    def _arithmetic(self, node: ir.Node) -> Sizes | None:
        """Sums and products are known where both sides are."""
        inputs = self._inputs(node)
        if inputs is None or any(array.dtype.kind not in "iu" for array in inputs):
            return None
        left, right = np.broadcast_arrays(*inputs)
        is_known = (left > _UNKNOWN) & (right > _UNKNOWN)
        if node.op_type == "Div" and (not is_known.all() or (right <= 0).any() or (left < 0).any()):
            return None
        compute = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": np.floor_divide}
        result = compute[node.op_type](np.where(is_known, left, 0), np.where(is_known, right, 0))
        return np.where(is_known, result, _NAMELESS)

    def _inputs(self, node: ir.Node) -> list[Sizes] | None:
        """What the inputs hold, if all of them are sizes or small integer constants."""
        arrays = [self.of(value) for value in node.inputs if value is not None]
        if any(array is None for array in arrays):
            return None
        return [array for array in arrays if array is not None]


def _casts_to_int64(node: ir.Node) -> bool:
    return get_int(node, "to", 0) == ir.DataType.INT64
