"""Run-time gain: whether eight bits with a range known at run time only are faster than float.

Products are three to four times as fast in eight bits. In exchange every number that is read is
made a code, and every one that is written is an integer's float: work per number, whatever the
products are. So what counts is the products for each number read or written.

Numbers that a depthwise convolution reads cost less: the engine hands them over line by line, in
the cache, which it does behind products of codes only. A picture that is multiplied by one number
per channel becomes codes on the way, and is not written as floats.
"""

import math
from collections.abc import Iterable

import onnx_ir as ir

from q8tool.model.graph import constant, get_int, get_ints
from q8tool.passes.conversions import is_depthwise, output_channel_axis
from q8tool.passes.one_input import one_input

__all__ = ["FEW_PRODUCTS", "gains_at_run_time", "values_in_lines"]

FEW_PRODUCTS = "narrow: a range at run time costs too much"
"""The reason of a product that stays float."""

# With dot-product instructions of 256 and 512 bits 1x1 convolutions from 32 to 32 channels (16 per
# number) take 0.9 to 1.0 of float, from 64 to 32 (21) 0.75 to 1.0; from 16 to 32 (11) 1.3 to 1.6.
_LEAST_PRODUCTS = 16.0
# Codes are written where the result's range is known: a quarter of the bytes of floats.
_CODE_SHARE = 0.25
# Lines of floats stay in the cache.
_LINE_SHARE = 0.5


def gains_at_run_time(node: ir.Node, writes_codes: bool, writes_lines: bool) -> bool:
    """True if a Conv, MatMul or Gemm with constant weights gains from a range at run time.

    writes_codes  whether its result's range is known, so that codes are written
    writes_lines  whether its result is one of values_in_lines
    """
    weights = constant(node.inputs[1])
    assert weights is not None
    outputs = weights.shape[output_channel_axis(node)]
    depth = weights.size // max(outputs, 1)
    read: float = depth
    if node.op_type == "Conv":
        channels = weights.shape[1] * get_int(node, "group", 1)
        read = channels * math.prod(get_ints(node, "strides", [1]))
    if _is_gated(node.inputs[0]):
        read = 0.0
    share = _CODE_SHARE if writes_codes else _LINE_SHARE if writes_lines else 1.0
    return bool(depth * outputs >= _LEAST_PRODUCTS * (read + outputs * share))


def values_in_lines(nodes: Iterable[ir.Node]) -> set[ir.Value]:
    """What only a depthwise convolution of 3 x 3 or 5 x 5 reads, and what that is a function of."""
    readers = (node for node in nodes if node.inputs and _reads_lines(node))
    return {value for node in readers for value in (node.inputs[0], _source(node)) if value}


def _reads_lines(node: ir.Node) -> bool:
    if not is_depthwise(node) or node.inputs[0] is None:
        return False
    weights, value = constant(node.inputs[1]), node.inputs[0]
    return (
        weights is not None
        and weights.shape[2:] in ((3, 3), (5, 5))
        and weights.shape[0] == get_int(node, "group", 1)
        and set(get_ints(node, "strides", [1, 1])) in ({1}, {2})
        and set(get_ints(node, "dilations", [1, 1])) == {1}
        and len(value.uses()) == 1
        and not value.is_graph_output()
    )


def _source(depthwise: ir.Node) -> ir.Value | None:
    """What a function whose result it reads is computed from, if nobody else reads that."""
    producer = None if depthwise.inputs[0] is None else depthwise.inputs[0].producer()
    function = None if producer is None else one_input(producer, lambda other: False)
    if function is None or any(use.node not in function.nodes for use in function.x.uses()):
        return None
    return function.x


def _is_gated(x: ir.Value | None) -> bool:
    """True for a picture times one number per channel: squeeze and excitation."""
    node = None if x is None else x.producer()
    if x is None or node is None or node.op_type != "Mul" or len(x.uses()) != 1:
        return False
    shapes = [value.shape for value in node.inputs if value is not None]
    pixels = [shape[2:] for shape in shapes if shape is not None and len(shape) == 4]
    return len(pixels) == 2 and sum(all(d == 1 for d in each) for each in pixels) == 1
