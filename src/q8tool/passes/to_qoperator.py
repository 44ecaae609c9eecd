"""To QOperator: a quantized group becomes one operator of the standard.

    before   Dequantize(x8), Dequantize(w8), Dequantize(b32) -> Conv -> Relu -> Quantize -> y8
    after    QLinearConv(x8, w8, y's scale, b32) -> y8

Conv becomes QLinearConv and MatMul QLinearMatMul; the standard has no eight-bit form of other
operators, which keep their conversions. A Relu or Clip between goes where y's codes cannot leave
its bounds anyway.
"""

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, constant, make_initializer, node_label
from q8tool.numerics.qparams import QuantParams
from q8tool.ops.registry import known_range
from q8tool.passes.cancel_conversions import remove_if_unread
from q8tool.passes.pairs import params_of

__all__ = ["to_qoperator"]


def to_qoperator(model: ir.Model) -> list[Change]:
    """Rewrites every group that has an operator of its own, in subgraphs too."""
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            if node.op_type == "Conv" and _rewrite(graph, names, node, "QLinearConv"):
                changes.append(Change("to_qoperator", node_label(node), "QLinearConv"))
            elif node.op_type == "MatMul" and _rewrite(graph, names, node, "QLinearMatMul"):
                changes.append(Change("to_qoperator", node_label(node), "QLinearMatMul"))
    return changes


def _rewrite(graph: ir.Graph, names: Names, node: ir.Node, op_type: str) -> bool:
    sources = [_dequantize_of(value) for value in node.inputs]
    quantize, clamps = _quantize_behind(node)
    if None in sources or quantize is None:
        return False
    first, second, *bias = [source for source in sources if source is not None]
    inputs = [*_with_zero_point(graph, names, first), *_with_zero_point(graph, names, second)]
    inputs += _with_zero_point(graph, names, quantize)[1:]
    if op_type == "QLinearConv" and bias:
        inputs.append(bias[0].inputs[0])
    codes = quantize.outputs[0]
    result = ir.Value(name=codes.name, shape=codes.shape, type=codes.type)
    fused = ir.node(op_type, inputs, outputs=[result], name=node.name)
    fused.attributes.update(node.attributes)
    graph.insert_before(quantize, fused)
    codes.name = f"{codes.name}_replaced"
    codes.replace_all_uses_with(result, replace_graph_outputs=True)
    for gone in (quantize, *reversed(clamps), node, *dict.fromkeys([first, second, *bias])):
        remove_if_unread(graph, gone)
    return True


def _dequantize_of(value: ir.Value | None) -> ir.Node | None:
    source = value.producer() if value is not None else None
    return source if source is not None and source.op_type == "DequantizeLinear" else None


def _with_zero_point(graph: ir.Graph, names: Names, node: ir.Node) -> list[ir.Value | None]:
    """Codes (or the real value), scale and zero point; an absent zero point is written out."""
    inputs = list(node.inputs[:3])
    if len(inputs) == 3 and inputs[2] is not None:
        return inputs
    scale = constant(inputs[1])
    shape = () if scale is None else scale.shape
    codes = inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    dtype = codes.dtype.numpy() if codes is not None and codes.dtype else np.dtype(np.uint8)
    name = names.new(f"{node.name or node.outputs[0].name}_zero")
    return [*inputs[:2], make_initializer(graph, name, np.zeros(shape, dtype))]


def _quantize_behind(node: ir.Node) -> tuple[ir.Node | None, list[ir.Node]]:
    """The QuantizeLinear that alone reads the node, and the idle clamps between them."""
    clamps: list[ir.Node] = []
    value = node.outputs[0]
    while len(value.uses()) == 1 and not value.is_graph_output():
        reader = next(iter(value.uses())).node
        if reader.op_type == "QuantizeLinear":
            params = params_of(reader)
            is_fit = params is not None and params.axis is None
            is_fit = is_fit and all(_is_idle(clamp, params) for clamp in clamps)
            return (reader, clamps) if is_fit else (None, [])
        if reader.op_type not in ("Relu", "Clip"):
            break
        clamps.append(reader)
        value = reader.outputs[0]
    return None, []


def _is_idle(clamp: ir.Node, params: QuantParams | None) -> bool:
    """True if codes of these parameters cannot leave the clamp's bounds by half a step."""
    if params is None or any(v is not None and constant(v) is None for v in clamp.inputs[1:]):
        return False
    slack = 0.5 * float(params.scale)
    (low, high), (least, most) = params.range(), known_range(clamp)
    return (least is None or low >= least - slack) and (most is None or high <= most + slack)
