"""Clean graph: what nothing reads goes, what stands twice stands once, nodes in order.

    a = Relu(x); b = Relu(x); c = Exp(x)      ->      a = Relu(x)
    y = Add(a, b)                                     y = Add(a, a)

Also: notes and doc strings of nodes (exporters leave the paths of source files there), unused
functions and operator sets. Nodes without a name get one, doubled names a number.
"""

import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    DeduplicateHashedInitializersPass,
    NameFixPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

from q8tool.model.change import Change
from q8tool.model.graph import all_graphs, all_nodes, node_label

__all__ = ["clean_graph"]

_RANDOM_OPS = frozenset({"Bernoulli", "Dropout"})


def clean_graph(model: ir.Model, merges: bool = True) -> list[Change]:
    """Remove what is unused or there twice; inputs and outputs stay. Returns what went.

    merges  False: what is there twice stays
    """
    changes = _removals(model, RemoveUnusedNodesPass(), "removed, nothing reads it")
    if merges and not _has_string_weights(model):
        changes += _removals(
            model, DeduplicateHashedInitializersPass(), "removed, another weight is equal"
        )
    if merges and not _draws_randomly(model):
        changes += _removals(
            model, CommonSubexpressionEliminationPass(), "removed, another node does the same"
        )
    for tidy in (
        ClearMetadataAndDocStringPass(),
        RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        RemoveUnusedOpsetsPass(),
        TopologicalSortPass(),
    ):
        tidy(model)
    _name_nodes(model)
    NameFixPass()(model)
    return changes


def _name_nodes(model: ir.Model) -> None:
    """Name nodes that have no name after what they make: patterns and reports go by names."""
    for node in all_nodes(model.graph):
        if not node.name and node.outputs:
            node.name = f"{node.op_type}_{node.outputs[0].name}"


def _removals(model: ir.Model, step: ir.passes.InPlacePass, what: str) -> list[Change]:
    before = _labels(model)
    step(model)
    kept = _labels(model)
    return [Change("clean_graph", label, what) for key, label in before.items() if key not in kept]


def _labels(model: ir.Model) -> dict[ir.Node | ir.Value, str]:
    found: dict[ir.Node | ir.Value, str] = {}
    for graph in all_graphs(model):
        found.update({value: value.name or "" for value in graph.initializers.values()})
        found.update({node: node_label(node) for node in graph})
    return found


def _has_string_weights(model: ir.Model) -> bool:
    return any(
        value.const_value is not None and value.const_value.dtype == ir.DataType.STRING
        for graph in all_graphs(model)
        for value in graph.initializers.values()
    )


def _draws_randomly(model: ir.Model) -> bool:
    """Whether merging equal nodes could merge two random draws that onnx-ir takes for equal."""
    return any(node.op_type in _RANDOM_OPS for node in all_nodes(model.graph))
