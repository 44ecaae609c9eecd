"""Cancel conversions: DequantizeLinear -> QuantizeLinear of equal parameters does nothing.

    before   codes -> Dequantize(s, z) -> Quantize(s, z) -> reader
    after    codes ----------------------------------------> reader

Exact: one multiplication and one division in float32 cannot move a code by half a step, and
numerics.rounding.survives_round_trip tries it on all 256 codes for each pair's parameters; a pair
that fails (a denormal scale) stays. Readers of the real values keep the DequantizeLinear.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import all_graphs, node_label
from q8tool.numerics.rounding import survives_round_trip
from q8tool.passes.pairs import Pair, pairs, params_of

__all__ = ["cancel_conversions", "remove_if_unread", "share_dequantize", "why_kept"]


def cancel_conversions(model: ir.Model) -> list[Change]:
    """Removes every pair that provably does nothing, in subgraphs too."""
    changes = []
    for graph in all_graphs(model):
        for pair in pairs(graph):
            if why_kept(pair):
                continue
            pair.quantize.outputs[0].replace_all_uses_with(pair.codes)
            label = f"{node_label(pair.dequantize)} -> {node_label(pair.quantize)}"
            remove_if_unread(graph, pair.quantize)
            remove_if_unread(graph, pair.dequantize)
            changes.append(Change("cancel_conversions", label, "equal parameters, all codes agree"))
    return changes


def why_kept(pair: Pair) -> str:
    """Why the pair must stay, "" if it can go."""
    first, second = params_of(pair.dequantize), params_of(pair.quantize)
    if first is None or second is None:
        return "its parameters are not constant"
    if not first.same_as(second):
        if first.dtype != second.dtype:
            return f"it converts {first.dtype} to {second.dtype}"
        return "its scales or zero points differ: one requantize"
    if pair.quantize.outputs[0].is_graph_output():
        return "its codes are an output of the model"
    if not survives_round_trip(first):
        return "its scale is too small to survive the round trip"
    return ""


def share_dequantize(model: ir.Model) -> list[Change]:
    """Lets readers of one tensor's real values share one DequantizeLinear."""
    changes = []
    for graph in all_graphs(model):
        first: dict[tuple[object, ...], ir.Node] = {}
        for node in list(graph):
            if node.op_type != "DequantizeLinear" or node.outputs[0].is_graph_output():
                continue
            key = (*node.inputs, *sorted((a.name, str(a.value)) for a in node.attributes.values()))
            kept = first.setdefault(key, node)
            if kept is not node:
                node.outputs[0].replace_all_uses_with(kept.outputs[0])
                changes.append(Change("share_dequantize", node_label(node), "a copy of another"))
                remove_if_unread(graph, node)
    return changes


def remove_if_unread(graph: ir.Graph, node: ir.Node) -> None:
    """Removes a node whose results nobody reads."""
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        graph.remove(node, safe=True)
