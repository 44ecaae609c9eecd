"""Merge conversions: two roundings in a row become one requantize.

    before   real -> Quantize(s1, z1) -> Dequantize(s1, z1) -> Quantize(s2, z2) -> reader
    after    real -> Quantize(s2, z2) -> reader

Only where the first conversion has no other reader and its range reaches at least as far as the
second's, so that nothing but a rounding disappears: codes may change by one, towards the exact
value. Where the range is narrower, the first conversion clamps, and both stay.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import all_graphs, node_label
from q8tool.numerics.qparams import QuantParams
from q8tool.passes.cancel_conversions import remove_if_unread
from q8tool.passes.pairs import Pair, pairs, params_of

__all__ = ["merge_conversions"]


def merge_conversions(model: ir.Model) -> list[Change]:
    """Merges every such chain, in subgraphs too."""
    changes = []
    for graph in all_graphs(model):
        for pair in pairs(graph):
            source = _first_quantize(pair)
            if source is None:
                continue
            pair.quantize.replace_input_with(0, source.inputs[0])
            label = f"{node_label(source)} -> {node_label(pair.quantize)}"
            remove_if_unread(graph, pair.dequantize)
            remove_if_unread(graph, source)
            changes.append(Change("merge_conversions", label, "two roundings became one"))
    return changes


def _first_quantize(pair: Pair) -> ir.Node | None:
    """The QuantizeLinear before the pair, if it can be skipped."""
    source = pair.codes.producer()
    if source is None or source.op_type != "QuantizeLinear":
        return None
    codes, real = source.outputs[0], pair.dequantize.outputs[0]
    alone = all(value.is_graph_output() is False for value in (codes, real))
    if not alone or len(codes.uses()) != 1 or len(real.uses()) != 1:
        return None
    first, own, second = params_of(source), params_of(pair.dequantize), params_of(pair.quantize)
    if first is None or own is None or second is None or not first.same_as(own):
        return None
    return source if _reaches(first, second) and not first.same_as(second) else None


def _reaches(first: QuantParams, second: QuantParams) -> bool:
    """True if first's range holds second's, up to half a step of rounding."""
    if first.axis is not None or second.axis is not None:
        return False
    slack = 0.5 * float(second.scale)
    (low, high), (second_low, second_high) = first.range(), second.range()
    return low <= second_low + slack and high >= second_high - slack
