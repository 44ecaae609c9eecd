"""What nodes give for tensors without elements, where onnx.reference has no answer.

A detector that finds nothing hands empty tensors to all that follows. Where type and shape follow
from those of the inputs, and the result is empty as well, there is nothing to compute.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, shape_inference

__all__ = ["empty_results"]


def empty_results(
    node: onnx.NodeProto,
    names: Sequence[str],
    inputs: Sequence[Any],
    opsets: Mapping[str, int],
) -> list[NDArray[Any]] | None:
    """The outputs of a node all of whose outputs are empty; None of any other.

    names   of the values that it reads, as `inputs` are ordered
    opsets  domain -> version of the model
    """
    arrays = [value for value in inputs if isinstance(value, np.ndarray)]
    if len(arrays) < len(inputs) or all(array.size for array in arrays):
        return None
    types = {
        name: helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, arrays, strict=True)
    }
    imports = [helper.make_opsetid(*item) for item in opsets.items()]
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        found = shape_inference.infer_node_outputs(schema, node, types, opset_imports=imports)
    except Exception:  # of the node's kind, or of what it reads: its operator has said so
        return None
    results = [_empty(found[name]) for name in node.output if name in found]
    known = [result for result in results if result is not None]
    return known if len(known) == sum(map(bool, node.output)) else None


def _empty(described: onnx.TypeProto) -> NDArray[Any] | None:
    """A tensor of that type if it has no elements."""
    tensor = described.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    if not tensor.elem_type or 0 not in dims or min(dims) < 0:
        return None
    return np.zeros(dims, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
