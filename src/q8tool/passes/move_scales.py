"""Move scales: a factor of one side of a product of two tensors becomes a factor of the product.

    before   MatMul(Mul(q, 0.125), Div(k, 2))
    after    Div(Mul(MatMul(q, k), 0.125), 2)

Attention is exported with the factor in any of these places. Behind the product it meets the
softmax, which takes it for nothing, and the product reads codes that are not rounded twice.
"""

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, constant, node_label, replace_uses

__all__ = ["move_scales"]


def move_scales(model: ir.Model) -> list[Change]:
    """Moves Mul and Div by a number from the inputs of each MatMul behind it, in place."""
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            if node.op_type != "MatMul" or node.domain != "":
                continue
            if any(constant(value) is not None for value in node.inputs):
                continue  # the factor belongs into the weights
            for index in (0, 1):
                while (scale := _scale_before(node, index)) is not None:
                    _move(graph, names, node, index, scale)
                    changes.append(Change("move_scales", node_label(scale), "behind the product"))
    return changes


def _scale_before(node: ir.Node, index: int) -> ir.Node | None:
    """The Mul or Div by a finite float32 number that only this product reads."""
    value = node.inputs[index]
    scale = value.producer() if value is not None else None
    if value is None or scale is None or scale.domain != "" or scale.graph is not node.graph:
        return None
    if scale.op_type not in ("Mul", "Div") or len(value.uses()) != 1 or value.is_graph_output():
        return None
    place = _varying(scale)
    number = None if place is None else constant(scale.inputs[1 - place])
    if number is None or number.size != 1 or number.dtype != np.float32:
        return None
    # A shape of more dimensions would widen the tensor; 0 and infinity cannot change places.
    factor = abs(float(number.ravel()[0]))
    rank = len(value.shape) if value.shape is not None else 0
    return scale if number.ndim <= max(rank, 0) and 1e-6 < factor < 1e6 else None


def _varying(scale: ir.Node) -> int | None:
    """Which input of a Mul or Div by a constant is the tensor; Div has it first."""
    if constant(scale.inputs[1]) is not None:
        return 0
    return 1 if scale.op_type == "Mul" and constant(scale.inputs[0]) is not None else None


def _move(graph: ir.Graph, names: Names, node: ir.Node, index: int, scale: ir.Node) -> None:
    place = _varying(scale)
    assert place is not None
    node.replace_input_with(index, scale.inputs[place])
    number, product = scale.inputs[1 - place], node.outputs[0]
    name = product.name
    after = ir.node(scale.op_type, [product, number], name=names.new(f"{name}_scaled"))
    after.outputs[0].shape, after.outputs[0].type = product.shape, product.type
    graph.insert_after(node, after)
    replace_uses(product, after.outputs[0])
    after.replace_input_with(0, product)
    # A name stands for the same numbers as before, by which models are compared value by value.
    product.name, after.outputs[0].name = names.new(f"{name}_unscaled"), name
    graph.remove(scale, safe=True)
