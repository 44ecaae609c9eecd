"""Keep outputs: what is not needed for the chosen outputs goes.

a = Relu(x); b = Conv(a); outputs: b    with outputs a        ->        a = Relu(x)
"""

import difflib
from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from q8tool.errors import UsageError
from q8tool.model.change import Change
from q8tool.model.graph import node_label

__all__ = ["keep_outputs"]


def keep_outputs(model: ir.Model, names: Sequence[str]) -> list[Change]:
    """Make these the graph outputs, in this order, and drop nodes and inputs that none needs.

    names   of values of the main graph, or of nodes (their first output is meant)
    Raises UsageError for an unknown name, with the nearest one.
    """
    graph = model.graph
    chosen = [_find(graph, name) for name in names]
    if chosen == list(graph.outputs):
        return []
    before = {node: node_label(node) for node in graph}
    graph.outputs.clear()
    graph.outputs.extend(dict.fromkeys(chosen))
    RemoveUnusedNodesPass()(model)
    unused = [v for v in graph.inputs if not v.uses() and not v.is_graph_output()]
    for value in unused:
        graph.inputs.remove(value)
        graph.initializers.pop(value.name or "", None)
    kept = set(graph)
    return [
        *(Change("keep_outputs", value.name or "", "is an output") for value in graph.outputs),
        *(
            Change("keep_outputs", label, "removed, no output needs it")
            for node, label in before.items()
            if node not in kept
        ),
        *(Change("keep_outputs", v.name or "", "input removed, nothing reads it") for v in unused),
    ]


def _find(graph: ir.Graph, name: str) -> ir.Value:
    values = {value.name: value for node in graph for value in node.outputs if value.name}
    nodes = {node.name: node.outputs[0] for node in graph if node.name and node.outputs}
    found = values.get(name) or nodes.get(name)
    if found is None:
        near = difflib.get_close_matches(name, [*values, *nodes], n=1)
        raise UsageError(
            f"the model has no value or node named '{name}'",
            f"did you mean {near[0]}?" if near else "",
        )
    return found
