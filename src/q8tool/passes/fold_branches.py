"""Fold branches: an If whose condition is constant becomes the branch that it takes.

    y = If(true) <then: a = Squeeze(x), else: b = Identity(x)>        ->        y = Squeeze(x)

torch writes such nodes around what depends on a rank or a size.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_nodes, constant, node_label

__all__ = ["fold_branches"]


def fold_branches(model: ir.Model) -> list[Change]:
    """Replace every If of constant condition by the nodes of its branch, subgraphs included."""
    changes: list[Change] = []
    names: Names | None = None
    for node in list(all_nodes(model.graph)):
        branch = _taken(node)
        if branch is None or not isinstance(node.graph, ir.Graph):
            continue
        names = names or Names(model.graph)
        changes.append(Change("fold_branches", node_label(node), "its condition is constant"))
        _inline(node.graph, node, branch, names)
    return changes


def _taken(node: ir.Node) -> ir.Graph | None:
    """The branch that an If takes, None if only the run decides; an outer If goes first."""
    if node.op_type != "If" or node.domain != "":
        return None
    condition = constant(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    return node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph, names: Names) -> None:
    results = list(branch.outputs)
    branch.outputs.clear()
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        value.name = names.new(name)
        graph.register_initializer(value)
    nodes = list(branch)
    branch.remove(nodes)
    for item in nodes:
        item.name = names.new(item.name or item.op_type)
        for value in item.outputs:
            value.name = names.new(value.name) if value.name else value.name
    graph.insert_before(node, nodes)
    for old, new in zip(node.outputs, results, strict=True):
        _hand_over(graph, node, old, new)
    graph.remove(node, safe=True)


def _hand_over(graph: ir.Graph, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Readers of old read new; an output of the graph keeps its name, through an Identity."""
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    copy = ir.node("Identity", [new], name=f"{node.name}_{old.name}")
    result = copy.outputs[0]
    result.type, result.shape = old.type, old.shape
    graph.insert_before(node, copy)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    name, old.name = old.name, None
    result.name = name
