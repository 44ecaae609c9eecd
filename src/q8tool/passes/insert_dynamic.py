"""Insert dynamic ranges: units whose input range is known at run time only.

    before   x -> Conv(w, b) -> y
    after    x -> DynamicQuantizeLinear -> ConvInteger(w8) -> Cast -> Mul(x_s * w_s) -> Add(b)

The sum of products is an exact int32; one float multiplication per channel brings it back to real
units, as accurate as the weights' scales. Weights are int8 per output channel: the scales stay
outside the integer operator, which therefore needs nothing beyond the standard.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import get_int, node_label
from q8tool.passes.choose_precision import Choice
from q8tool.passes.conversions import ConversionWriter, float_weights, take_over

__all__ = ["insert_dynamic"]

_INTEGER_OPS = {"Conv": "ConvInteger", "MatMul": "MatMulInteger", "Gemm": "MatMulInteger"}


def insert_dynamic(model: ir.Model, choice: Choice, per_channel: bool = True) -> list[Change]:
    """Rewrites the dynamic units of the choice; readers of one tensor share its conversion."""
    writer = ConversionWriter(model.graph)
    codes: dict[ir.Value, ir.Node] = {}
    changes = []
    for unit in choice.units:
        if unit.form != "dynamic":
            continue
        x = unit.node.inputs[0]
        assert x is not None
        if x not in codes:
            codes[x] = writer.dynamic_quantize(x)
            writer.graph.insert_before(unit.node, codes[x])
        _rewrite(writer, unit.node, codes[x], per_channel)
        changes.append(
            Change("insert_dynamic", node_label(unit.node), "eight-bit, range at run time")
        )
    return changes


def _rewrite(writer: ConversionWriter, node: ir.Node, codes: ir.Node, per_channel: bool) -> None:
    found = float_weights(node)
    params = found.params(per_channel, None)
    result, base = node.outputs[0], node.inputs[1]
    name = result.name or "result"
    weights, scale = found.codes(params), params.scale
    if node.op_type == "Gemm" and get_int(node, "transB", 0):
        weights = weights.T
    channels = _channel_shape(node, found.weights)
    weight_codes = writer.initializer(
        f"{base.name if base else name}_q", np.ascontiguousarray(weights)
    )
    x_codes, x_scale, x_zero_point = codes.outputs
    attributes = dict(node.attributes) if node.op_type == "Conv" else {}
    sums = writer.new(
        _INTEGER_OPS[node.op_type],
        [x_codes, weight_codes, x_zero_point],
        f"{name}_i32",
        dtype=ir.DataType.INT32,
        shape=result.shape,
    )
    sums.attributes.update(attributes)
    cast = _float_node(writer, "Cast", [sums.outputs[0]], f"{name}_f32", result)
    cast.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
    factor = writer.initializer(f"{name}_ws", _shaped(scale, channels))
    product = _float_node(writer, "Mul", [x_scale, factor], f"{name}_s", None)
    nodes = [sums, cast, product]
    nodes.append(
        _float_node(writer, "Mul", [cast.outputs[0], product.outputs[0]], f"{name}_scaled", result)
    )
    if found.bias is not None:
        bias = writer.initializer(f"{name}_b", _shaped(found.bias, channels))
        nodes.append(
            _float_node(writer, "Add", [nodes[-1].outputs[0], bias], f"{name}_biased", result)
        )
    writer.graph.insert_before(node, nodes)
    take_over(writer, node, nodes[-1].outputs[0])


def _channel_shape(node: ir.Node, weights: NDArray[np.float32]) -> tuple[int, ...]:
    """The shape in which one value per channel broadcasts against the operator's result."""
    return (1, -1, *([1] * (weights.ndim - 2))) if node.op_type == "Conv" else (-1,)


def _shaped(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return values.reshape(shape) if values.ndim else values


def _float_node(
    writer: ConversionWriter,
    op_type: str,
    inputs: list[ir.Value],
    name: str,
    like: ir.Value | None,
) -> ir.Node:
    return writer.new(op_type, inputs, name, shape=None if like is None else like.shape)
