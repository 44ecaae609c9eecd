"""Standard nodes that take the place of one of onnxruntime's own: what all replacements share."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.model.graph import Names, constant, make_initializer

__all__ = ["Coded", "Replace", "Replacement", "own_attributes", "padded_inputs"]

Coded = Sequence[ir.Value | None]
# Attributes that the standard's operator does not have.
_FOREIGN_ATTRIBUTES = frozenset({"channels_last", "opset"})


class Replacement:
    """Nodes that take the place of one, in a model of the given opset."""

    def __init__(self, graph: ir.Graph, node: ir.Node, names: Names, opset: int) -> None:
        self._graph, self._node, self._names = graph, node, names
        self.opset = opset
        self._nodes: list[ir.Node] = []

    def add(
        self,
        op_type: str,
        inputs: Coded,
        attributes: Mapping[str, ir.Attr] | None = None,
        outputs: int = 1,
        /,
        **numbers: int | float | str | Sequence[int],
    ) -> list[ir.Value]:
        """A node of the standard; its results. Inputs left out at the end are dropped."""
        present = [place for place, value in enumerate(inputs, 1) if value is not None]
        name = self._names.new(f"{self._node.name or self._node.outputs[0].name}_{op_type}")
        made = [ir.convenience.convert_attribute(key, value) for key, value in numbers.items()]
        attrs = [*(attributes or {}).values(), *made]
        node = ir.Node("", op_type, inputs[: present[-1]], attrs, num_outputs=outputs, name=name)
        for position, value in enumerate(node.outputs):
            value.name = self._names.new(f"{name}_{position}") if position else name
        self._nodes.append(node)
        return list(node.outputs)

    def one(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, ir.Attr] | None = None,
        **numbers: int | float | str | Sequence[int],
    ) -> ir.Value:
        """A node of the standard with one result; that."""
        return self.add(op_type, inputs, attributes, **numbers)[0]

    def real(self, coded: Coded, axis: int | None = None) -> ir.Value:
        """What codes, scale and zero point stand for.

        axis   that of a scale per channel, which DequantizeLinear has since opset 13; before, what
               stands for constants is computed here
        """
        arrays = [constant(value) for value in coded]
        if axis is not None and self.opset < 13 and all(array is not None for array in arrays):
            codes, scale, *rest = (np.asarray(array) for array in arrays)
            dims = [-1 if d == axis else 1 for d in range(codes.ndim)]
            centred = codes.astype(np.float32) - (rest[0].reshape(dims) if rest else 0)
            name = coded[0].name if coded[0] is not None else ""
            return self.constant(f"{name}_real", np.float32(centred * scale.reshape(dims)))
        if axis is None:
            return self.one("DequantizeLinear", *coded)
        return self.one("DequantizeLinear", *coded, axis=axis)

    def constant(self, base: str, array: npt.ArrayLike) -> ir.Value:
        """A new initializer."""
        return make_initializer(self._graph, self._names.new(base), array)

    def finish(self, results: Coded) -> None:
        """The results take the places and names of the node's outputs, in their order.

        None for an output that nobody reads.
        """
        self._graph.insert_before(self._node, self._nodes)
        pairs = [(old, new) for old, new in zip(self._node.outputs, results, strict=False) if new]
        kept = [(old.name, new) for old, new in pairs]
        for old, new in pairs:
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        self._graph.remove(self._node, safe=True)
        for old in self._node.outputs:
            old.name = None
        for name, new in kept:
            new.name = name


Replace = Callable[[Replacement, ir.Node], Coded | None]
"""Writes a node in the standard's words; its results, or None if it has a form nobody knows."""


def own_attributes(node: ir.Node) -> dict[str, ir.Attr]:
    """The node's attributes as far as the standard's operator has them."""
    return {n: value for n, value in node.attributes.items() if n not in _FOREIGN_ATTRIBUTES}


def padded_inputs(node: ir.Node, count: int) -> list[ir.Value | None]:
    """The node's inputs, with None for those left out at the end."""
    return [*node.inputs, *[None] * (count - len(node.inputs))]
