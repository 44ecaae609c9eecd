"""Codes of weights that are transposed as floats: transposed as codes, which products take.

    w -> DequantizeLinear(axis 3) -> Transpose(3, 2, 0, 1) -> Conv
    w -> Transpose(3, 2, 0, 1) -> DequantizeLinear(axis 0) -> Conv

Exporters from TensorFlow, and fake quantization in PyTorch, write the first form.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from q8tool.engine.graph import Graph, Node, with_axis

__all__ = ["with_transposed_codes"]


def with_transposed_codes(graph: Graph) -> Graph:
    """The graph with every Transpose of dequantized constants in front of DequantizeLinear."""
    transposes = [n for n in graph.nodes if n.op_type == "Transpose" and not n.domain]
    if not transposes:
        return graph
    makers = {name: node for node in graph.nodes for name in node.outputs}
    swapped = {node: _swapped(graph, makers, node) for node in transposes}
    if not any(swapped.values()):
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += swapped.get(node) or [node]
    return replace(graph, nodes=nodes)


def _swapped(graph: Graph, makers: Mapping[str, Node], node: Node) -> list[Node] | None:
    """Transpose and DequantizeLinear in the other order; None for other nodes."""
    dequantize = makers.get(node.input(0))
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or dequantize.domain:
        return None
    shape = _constant_shape(graph, makers, dequantize.input(0))
    scale = graph.constant_types.get(dequantize.input(1))
    if shape is None or scale is None or len(scale[1]) > 1:
        return None
    order = [int(d) for d in node.attributes.get("perm", range(len(shape))[::-1])]
    axis = int(dequantize.attributes.get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    attributes = dequantize.attributes
    if scale[1]:
        if axis not in order or dequantize.attributes.get("block_size", 0):
            return None
        axis = order.index(axis)
        attributes = {**attributes, "axis": axis}
    name = f"{node.outputs[0]} codes"
    if name in makers or name in graph.constants:
        return None
    return [
        replace(node, inputs=(dequantize.input(0),), outputs=(name,)),
        replace(
            dequantize, name=node.name, inputs=(name, *dequantize.inputs[1:]), outputs=node.outputs,
            make_proto=partial(with_axis, dequantize.make_proto, axis),
            attributes=attributes,
        ),
    ]  # fmt: skip


def _constant_shape(graph: Graph, makers: Mapping[str, Node], name: str) -> tuple[int, ...] | None:
    """Of codes that are constants, or made of constants; None for others."""
    fed = {info.name for info in graph.inputs}
    maker = makers.get(name)
    if maker is not None and maker.op_type == "QuantizeLinear" and not maker.domain:
        name = maker.input(0)
    found = graph.constant_types.get(name)
    return None if found is None or name in fed else found[1]
