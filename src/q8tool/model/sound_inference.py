"""onnx's inference of shapes, made to survive sizes below zero.

Inference follows a window that is wider than its picture to a negative size. From there on onnx's
own rules of Slice and GatherND read outside of their arrays, which ends the process. Wrapped, they
leave such results open; whoever looks for absurd sizes behind inference finds the first.
"""

import functools
from collections.abc import Callable
from typing import Any

from onnx import defs

__all__ = ["guard_inference"]

_FIRST_VERSIONS = {"Slice": 1, "GatherND": 11}


@functools.cache
def guard_inference() -> None:
    """Wraps the rules in onnx's registry, once for the process; to be called before inference."""
    if not hasattr(defs.OpSchema, "get_type_and_shape_inference_function"):
        return  # an onnx whose rules cannot be replaced
    for op_type, first in _FIRST_VERSIONS.items():
        version = defs.onnx_opset_version()
        while version >= first:
            schema = defs.get_schema(op_type, version, "")
            rule = schema.get_type_and_shape_inference_function()
            schema.set_type_and_shape_inference_function(functools.partial(_guarded, rule))
            defs.deregister_schema(op_type, schema.since_version, "")
            defs.register_schema(schema)
            version = schema.since_version - 1


def _guarded(rule: Callable[[Any], None], context: Any) -> None:
    types = (context.get_input_type(place) for place in range(context.get_num_inputs()))
    dims = (dim for found in types if found is not None for dim in found.tensor_type.shape.dim)
    if all(dim.dim_value >= 0 for dim in dims):
        rule(context)
