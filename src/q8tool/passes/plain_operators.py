"""Plain operators: what has an eight-bit form under another name takes that name.

Sum(a, b, c)               ->  Add(Add(a, b), c)
Gemm(a, w), transA = 1     ->  Gemm(Transpose(a), w)
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, constant, get_int, node_label

__all__ = ["plain_operators"]


def plain_operators(model: ir.Model) -> list[Change]:
    """Rewrites them in place, subgraphs included."""
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            if node.domain != "":
                continue
            if node.op_type == "Sum" and len(node.inputs) > 1:
                changes.append(Change("plain_operators", node_label(node), "Adds"))
                _add_up(graph, node, names)
            elif node.op_type == "Gemm" and _turns_left_side(node):
                changes.append(Change("plain_operators", node_label(node), "a Transpose before it"))
                _turn_before(graph, node, names)
    return changes


def _turns_left_side(node: ir.Node) -> bool:
    return get_int(node, "transA", 0) == 1 and constant(node.inputs[1]) is not None


def _add_up(graph: ir.Graph, node: ir.Node, names: Names) -> None:
    """Left to right, the last Add under the node's name."""
    total, *others = node.inputs
    result = node.outputs[0]
    for position, other in enumerate(others, 1):
        is_last = position == len(others)
        name = node.name if is_last else names.new(f"{node.name or result.name}_{position}")
        add = ir.node("Add", [total, other], name=name)
        add.outputs[0].type = result.type
        if is_last:
            add.outputs[0].shape = result.shape
        else:
            add.outputs[0].name = names.new(f"{result.name}_{position}")
        graph.insert_before(node, add)
        total = add.outputs[0]
    assert total is not None
    name = result.name
    result.name = names.new(f"{name}_sum")
    total.name = name
    result.replace_all_uses_with(total, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _turn_before(graph: ir.Graph, node: ir.Node, names: Names) -> None:
    x = node.inputs[0]
    assert x is not None
    name = names.new(f"{x.name}_turned")
    turn = ir.node("Transpose", [x], {"perm": [1, 0]}, name=name)
    turned = turn.outputs[0]
    turned.name, turned.type = name, x.type
    turned.shape = None if x.shape is None else ir.Shape(list(reversed(x.shape.dims)))
    graph.insert_before(node, turn)
    node.replace_input_with(0, turned)
    del node.attributes["transA"]
