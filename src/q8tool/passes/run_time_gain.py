"""Run-time gain: whether eight bits with a range known at run time only are faster than float.

Products are three to four times as fast in eight bits. In exchange every number that is read is
made a code, and every one that is written is an integer's float: work per number, whatever the
products are. So what counts is the products for each number read or written.
"""

import math

import onnx_ir as ir

from q8tool.model.graph import constant, get_int, get_ints
from q8tool.passes.conversions import output_channel_axis

__all__ = ["FEW_PRODUCTS", "gains_at_run_time"]

FEW_PRODUCTS = "narrow: a range at run time costs too much"
"""The reason of a product that stays float."""

# With dot-product instructions of 256 and 512 bits 1x1 convolutions from 32 to 32 channels (16 per
# number) take 0.9 to 1.0 of float, from 64 to 32 (21) 0.75 to 1.0; from 16 to 32 (11) 1.3 to 1.6.
_LEAST_PRODUCTS = 16.0
# Codes are written where the result's range is known: a quarter of the bytes of floats.
_CODE_SHARE = 0.25


def gains_at_run_time(node: ir.Node, writes_codes: bool) -> bool:
    """True if a Conv, MatMul or Gemm with constant weights gains from a range at run time.

    writes_codes  whether its result's range is known, so that codes are written
    """
    weights = constant(node.inputs[1])
    assert weights is not None
    outputs = weights.shape[output_channel_axis(node)]
    depth = weights.size // max(outputs, 1)
    read: float = depth
    if node.op_type == "Conv":
        channels = weights.shape[1] * get_int(node, "group", 1)
        read = channels * math.prod(get_ints(node, "strides", [1]))
    moved = read + outputs * (_CODE_SHARE if writes_codes else 1.0)
    return bool(depth * outputs >= _LEAST_PRODUCTS * moved)
