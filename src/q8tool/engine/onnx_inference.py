"""Types and shapes of a node's outputs as onnx infers them: for nodes without a rule of ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Node
from q8tool.errors import InputError
from q8tool.model.attribute_limits import absurd_attribute
from q8tool.model.limits import is_absurd
from q8tool.model.sound_inference import guard_inference

__all__ = ["inferred_by_onnx"]

Described = tuple[np.dtype[Any] | None, tuple[int, ...] | None]
# Operators of whose float inputs the values say what shape comes out.
_SHAPED_BY_FLOATS = frozenset({"Range", "Resize", "Upsample"})


def inferred_by_onnx(
    node: Node, facts: Mapping[str, Fact], opsets: Mapping[str, int]
) -> dict[str, Described]:
    """By output, as far as onnx infers it from this node alone; None for what it leaves open.

    opsets  versions by domain
    Raises InputError for attributes that onnx does not survive.
    """
    if any(facts[name].dtype is None for name in node.reads):
        return {}
    _refuse_absurd(node)
    try:
        schema = onnx.defs.get_schema(node.op_type, node.version, node.domain)
        types = {name: _type_proto(facts[name]) for name in node.reads}
        data = {
            name: numpy_helper.from_array(facts[name].array(), name)
            for name in node.reads
            if facts[name].is_small and _shapes_results(node, facts[name])
        }
        imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        guard_inference()
        found = shape_inference.infer_node_outputs(
            schema, node.proto, types, data, opset_imports=imports
        )
        return {name: _described(proto) for name, proto in found.items()}
    except Exception:  # whatever onnx says against it, the run will say
        return {}


def _refuse_absurd(node: Node) -> None:
    counts = len(node.inputs), len(node.outputs)
    name = absurd_attribute(node.op_type, node.attributes, *counts)
    if name is not None:
        raise InputError(
            f"node '{node.name}' ({node.op_type}): its attribute '{name}' cannot be "
            f"{node.attributes[name]!r}"
        )


def _described(proto: onnx.TypeProto) -> Described:
    """Type and shape of an inferred type; None for what it leaves open."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return None, None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type))
    if not proto.tensor_type.HasField("shape"):
        return dtype, None
    dims = proto.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return dtype, None
    shape = tuple(dim.dim_value for dim in dims)
    return dtype, None if is_absurd(shape) else shape


def _shapes_results(node: Node, fact: Fact) -> bool:
    """Whether the result's shape may depend on the values of this input."""
    assert fact.dtype is not None
    if fact.dtype == np.dtype(object):
        return False
    return fact.dtype.kind != "f" or node.op_type in _SHAPED_BY_FLOATS


def _type_proto(fact: Fact) -> onnx.TypeProto:
    assert fact.dtype is not None
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(fact.dtype), fact.shape)
