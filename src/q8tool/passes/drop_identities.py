"""Drop identities: nodes that hand their input on unchanged.

    y = Identity(x); z = Relu(y)        ->        z = Relu(x)
    y = Dropout(x);  z = Relu(y)        ->        z = Relu(x)

onnx-ir has a pass for Identity, but it renames a value twice when two graph outputs are copies of
it, and reaches from a subgraph into the graph around it; both give a model without one output.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import all_nodes, constant, node_label, replace_uses

__all__ = ["drop_identities"]


def drop_identities(model: ir.Model) -> list[Change]:
    """Remove Identity nodes and Dropout nodes in inference, wherever no name of an output is lost.

    Kept are: a copy of a graph input, a weight or another output that is itself an output, a
    Dropout whose mask somebody reads, a Dropout in training.
    """
    changes = []
    for node in list(all_nodes(model.graph)):
        source = node.inputs[0] if node.inputs else None
        if source is None or not _hands_on(node) or not _can_go(node, source):
            continue
        label = node_label(node)
        replace_uses(node.outputs[0], source)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        changes.append(Change("drop_identities", label, "removed"))
    return changes


def _hands_on(node: ir.Node) -> bool:
    if node.domain != "":
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(
        mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]
    ):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    switch = constant(node.inputs[2])
    return switch is not None and not switch.any()


def _can_go(node: ir.Node, source: ir.Value) -> bool:
    if not node.outputs[0].is_graph_output():
        return True
    producer = source.producer()
    is_computed_here = producer is not None and producer.graph is node.graph
    return is_computed_here and not source.is_graph_output()
