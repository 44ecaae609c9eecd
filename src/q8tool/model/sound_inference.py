"""onnx's inference of shapes, made to survive sizes below zero and lists without end.

Inference follows a window that is wider than its picture to a negative size. From there on onnx's
own rules of Slice and GatherND read outside of their arrays, which ends the process; the one of the
first Expand makes a dimension of each entry of a list of sizes, however long. Wrapped, they leave
such results open; whoever looks for absurd sizes behind inference finds the first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from onnx import defs

from q8tool.model.limits import MOST_DIMENSIONS

__all__ = ["guard_inference"]

Shapes = Sequence[Sequence[int]]


@functools.cache
def guard_inference() -> None:
    """Wraps the rules in onnx's registry, once for the process; to be called before inference."""
    if not hasattr(defs.OpSchema, "get_type_and_shape_inference_function"):
        return  # an onnx whose rules cannot be replaced
    for op_type, (first, is_survived) in _GUARDS.items():
        version = defs.onnx_opset_version()
        while version >= first:
            schema = defs.get_schema(op_type, version, "")
            rule = schema.get_type_and_shape_inference_function()
            guarded = functools.partial(_guarded, rule, is_survived)
            schema.set_type_and_shape_inference_function(guarded)
            defs.deregister_schema(op_type, schema.since_version, "")
            defs.register_schema(schema)
            version = schema.since_version - 1


def _guarded(
    rule: Callable[[Any], None], is_survived: Callable[[Shapes], bool], context: Any
) -> None:
    types = [context.get_input_type(place) for place in range(context.get_num_inputs())]
    dims = [() if found is None else found.tensor_type.shape.dim for found in types]
    if is_survived([[dim.dim_value for dim in shape] for shape in dims]):
        rule(context)


def _are_sizes(shapes: Shapes) -> bool:
    return all(size >= 0 for shape in shapes for size in shape)


def _is_short(shapes: Shapes) -> bool:
    """Whether the list of sizes names no more dimensions than a tensor has."""
    return all(size <= MOST_DIMENSIONS for size in shapes[1])


# The first version with such a rule, and what the rule survives.
_GUARDS = {"Slice": (1, _are_sizes), "GatherND": (11, _are_sizes), "Expand": (8, _is_short)}
