"""Conversion nodes as they stand in a graph: their parameters, and the pairs that they form.

What the passes of strip-conversions share. A pair is a DequantizeLinear whose result a
QuantizeLinear reads: codes -> real -> codes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from q8tool.model.graph import constant, get_int
from q8tool.numerics.qparams import CodeType, QuantParams

__all__ = ["Pair", "pairs", "params_of"]

_CODE_TYPES: dict[ir.DataType, CodeType] = {
    ir.DataType.UINT8: "uint8",
    ir.DataType.INT8: "int8",
    ir.DataType.UINT16: "uint16",
    ir.DataType.INT16: "int16",
}


@dataclass(frozen=True)
class Pair:
    """dequantize.outputs[0] is quantize.inputs[0]; both in one graph."""

    dequantize: ir.Node
    quantize: ir.Node

    @property
    def codes(self) -> ir.Value:
        """What the pair starts from."""
        value = self.dequantize.inputs[0]
        assert value is not None
        return value


def params_of(node: ir.Node) -> QuantParams | None:
    """Parameters of a QuantizeLinear or DequantizeLinear node.

    None if they are not constant, do not fit together, are per block, or belong to a code type
    other than 8 and 16 bits.
    """
    scale = constant(node.inputs[1])
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    if scale is None or scale.ndim > 1 or get_int(node, "block_size", 0):
        return None
    dtype = _CODE_TYPES.get(_code_type(node, zero_value))
    if dtype is None or scale.dtype != np.float32:
        return None
    zero_point = np.zeros(scale.shape, np.int32)
    if zero_value is not None:
        array = constant(zero_value)
        if array is None:
            return None
        zero_point = array.astype(np.int32)
    if zero_point.size != scale.size:
        return None
    if scale.size == 1:
        return QuantParams(scale.reshape(()), zero_point.reshape(()), dtype)
    return QuantParams(scale, zero_point, dtype, get_int(node, "axis", 1))


def _code_type(node: ir.Node, zero_point: ir.Value | None) -> ir.DataType:
    """The type of the codes; QuantizeLinear writes uint8 where nothing says another."""
    if zero_point is not None:
        return zero_point.dtype or ir.DataType.UNDEFINED
    if node.op_type == "QuantizeLinear":
        return ir.DataType(get_int(node, "output_dtype", 0) or ir.DataType.UINT8)
    codes = node.inputs[0]
    return (codes.dtype if codes is not None else None) or ir.DataType.UNDEFINED


def pairs(graph: ir.Graph) -> Iterator[Pair]:
    """All pairs of the graph, in the order of their QuantizeLinear nodes. Safe while rewriting."""
    for node in list(graph):
        if node.op_type != "QuantizeLinear" or node.graph is not graph:
            continue
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if source is not None and source.op_type == "DequantizeLinear" and source.graph is graph:
            yield Pair(source, node)
