"""Makes the engine's graph of a plain model file, without onnx."""

from functools import partial
from typing import TYPE_CHECKING

from q8tool.engine.graph import Graph, Node
from q8tool.engine.tensor_info import TensorInfo
from q8tool.model.plain_file import PlainModel, PlainNode
from q8tool.model.refusals import refusals_named

if TYPE_CHECKING:
    import onnx

__all__ = ["plain_graph"]


def plain_graph(model: PlainModel) -> Graph:
    """The same graph that read_graph gives of this file."""
    constants = model.initializers
    infos = [TensorInfo(*value) for value in model.inputs]
    return Graph(
        inputs=[info for info in infos if info.name not in constants]
        + [info for info in infos if info.name in constants],
        outputs=[TensorInfo(*value) for value in model.outputs],
        nodes=[_node(node, model.opsets[""]) for node in model.nodes],
        constants={name: tensor.read for name, tensor in constants.items()},
        constant_types={name: (t.dtype, t.shape) for name, t in constants.items()},
        optional=frozenset(info.name for info in infos if info.name in constants),
        opsets=model.opsets,
        metadata_props=model.metadata_props,
    )


def _node(node: PlainNode, version: int) -> Node:
    name = node.name or f"{node.op_type}_{node.outputs[0]}"
    return Node(
        name=name,
        op_type=node.op_type,
        domain="",
        version=version,
        inputs=node.inputs,
        outputs=node.outputs,
        attributes=node.attributes,
        captured=(),
        make_proto=partial(_parsed, node.data, name),
    )


def _parsed(data: bytes, name: str) -> "onnx.NodeProto":
    """The node's notes and documentation, which nobody else reads, may be damaged."""
    import onnx

    proto = onnx.NodeProto()
    with refusals_named(f"node '{name}'"):
        proto.ParseFromString(data)
    return proto
