"""onnxruntime's eight-bit operators in the standard's words: conversions around the float operator.

    c = com.microsoft.QLinearAdd(a, sa, za, b, sb, zb, sc, zc)
    ->  c = QuantizeLinear(Add(DequantizeLinear(a, sa, za), DequantizeLinear(b, sb, zb)), sc, zc)

The quantizer of onnxruntime writes them in its QOperator format. Both sides mean the same real
numbers; results may differ by one code, as onnxruntime rounds on the way in some of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, constant, get_float, get_int, make_initializer

__all__ = ["has_foreign_operators", "standardize_operators"]

DOMAIN = "com.microsoft"
# Attributes that the standard's operator does not have.
_OWN_ATTRIBUTES = frozenset({"channels_last", "opset"})

_UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
_BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}

Coded = Sequence[ir.Value | None]


def has_foreign_operators(model: ir.Model) -> bool:
    """Whether standardize_operators finds something."""
    return any(_writer_of(node) for node in ir.traversal.RecursiveGraphIterator(model.graph))


def standardize_operators(model: ir.Model) -> list[Change]:
    """Replace onnxruntime's eight-bit operators, in place; those of unknown form stay."""
    names, changes = Names(model.graph), []
    for graph in model.graphs():
        for node in list(graph):
            write = _writer_of(node)
            if write is None or not isinstance(graph, ir.Graph):
                continue
            new = _Writer(graph, node, names, model.opset_imports.get("", 0))
            if write(new, node):
                new.finish()
                label = node.name or node.op_type
                changes.append(Change("standardize_operators", label, f"was {node.op_type}"))
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    if changes and all(node.domain != DOMAIN for node in nodes):
        model.opset_imports.pop(DOMAIN, None)
    return changes


class _Writer:
    """Nodes that take the place of one, in a model of the given opset."""

    def __init__(self, graph: ir.Graph, node: ir.Node, names: Names, opset: int) -> None:
        self._graph, self._node, self._names = graph, node, names
        self._opset = opset
        self._nodes: list[ir.Node] = []

    def add(
        self, op_type: str, inputs: Coded, attributes: dict[str, ir.Attr] | None = None
    ) -> ir.Value:
        """A node of the standard; its result."""
        name = self._names.new(f"{self._node.name or self._node.outputs[0].name}_{op_type}")
        node = ir.Node("", op_type, inputs, list((attributes or {}).values()), name=name)
        node.outputs[0].name = name
        self._nodes.append(node)
        return node.outputs[0]

    def real(self, coded: Coded, axis: int | None = None) -> ir.Value:
        """What codes, scale and zero point stand for.

        axis   that of a scale per channel, which DequantizeLinear has since opset 13; before, what
               stands for constants is computed here
        """
        arrays = [constant(value) for value in coded]
        if axis is not None and self._opset < 13 and all(array is not None for array in arrays):
            codes, scale, *rest = (np.asarray(array) for array in arrays)
            dims = [-1 if d == axis else 1 for d in range(codes.ndim)]
            centred = codes.astype(np.float32) - (rest[0].reshape(dims) if rest else 0)
            name = coded[0].name if coded[0] is not None else ""
            return self.constant(f"{name}_real", np.float32(centred * scale.reshape(dims)))
        attributes = {} if axis is None else {"axis": ir.AttrInt64("axis", axis)}
        return self.add("DequantizeLinear", coded, attributes)

    def constant(self, base: str, array: npt.ArrayLike) -> ir.Value:
        """A new initializer."""
        return make_initializer(self._graph, self._names.new(base), array)

    def finish(self) -> None:
        """The last value takes the node's place and name."""
        old, new = self._node.outputs[0], self._nodes[-1].outputs[0]
        new.type, new.shape = old.type, old.shape
        self._graph.insert_before(self._node, self._nodes)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        name = old.name
        self._graph.remove(self._node, safe=True)
        old.name = None
        new.name = name


def _own(node: ir.Node) -> dict[str, ir.Attr]:
    """The node's attributes as far as the standard's operator has them."""
    return {name: value for name, value in node.attributes.items() if name not in _OWN_ATTRIBUTES}


def _unary(new: _Writer, node: ir.Node) -> bool:
    """x, scale, zero point, then those of the result."""
    result = new.add(_UNARY[node.op_type], [new.real(node.inputs[:3])], _own(node))
    new.add("QuantizeLinear", [result, *node.inputs[3:5]])
    return True


def _binary(new: _Writer, node: ir.Node) -> bool:
    """a and b with scale and zero point each, then those of the result."""
    operands = [new.real(node.inputs[:3]), new.real(node.inputs[3:6])]
    new.add("QuantizeLinear", [new.add(_BINARY[node.op_type], operands), *node.inputs[6:8]])
    return True


def _concat(new: _Writer, node: ir.Node) -> bool:
    """Scale and zero point of the result, then every part with its own."""
    starts = range(2, len(node.inputs), 3)
    parts = [new.real(node.inputs[start : start + 3]) for start in starts]
    new.add("QuantizeLinear", [new.add("Concat", parts, _own(node)), *node.inputs[:2]])
    return True


def _gemm(new: _Writer, node: ir.Node) -> bool:
    """a, b, an int32 bias at the product of their scales, and perhaps the result's parameters."""
    inputs = [*node.inputs, *[None] * (9 - len(node.inputs))]
    a_scale, b_scale = constant(inputs[1]), constant(inputs[4])
    if a_scale is None or b_scale is None or get_float(node, "alpha", 1.0) != 1.0:
        return False
    is_per_column = b_scale.size > 1
    axis = (0 if get_int(node, "transB", 0) else 1) if is_per_column else None
    operands = [new.real(inputs[:3]), new.real(inputs[3:6], axis)]
    if inputs[6] is not None:
        scale = new.constant(f"{node.name}_bias_scale", np.float32(a_scale * b_scale))
        operands.append(new.real([inputs[6], scale], 0 if is_per_column else None))
    result = new.add("Gemm", operands, _own(node))
    if inputs[7] is not None:
        new.add("QuantizeLinear", [result, *inputs[7:9]])
    return True


def _writer_of(node: ir.Node) -> Callable[[_Writer, ir.Node], bool] | None:
    if node.domain != DOMAIN or get_int(node, "channels_last", 0):
        return None
    if node.op_type in _UNARY:
        return _unary
    if node.op_type in _BINARY:
        return _binary
    return {"QLinearConcat": _concat, "QGemm": _gemm}.get(node.op_type)
