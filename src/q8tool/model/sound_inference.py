"""onnx's inference of shapes, made to survive sizes below zero, lists without end and no types.

Inference follows a window that is wider than its picture to a negative size. From there on onnx's
own rules of Slice and GatherND read outside of their arrays, which ends the process; the one of the
first Expand makes a dimension of each entry of a list of sizes, however long; some others read the
type of an input that has none. Wrapped, they leave such results open; whoever looks for absurd
sizes or unknown names behind inference finds the first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import onnx
from onnx import defs

from q8tool.model.limits import MOST_DIMENSIONS

__all__ = ["guard_inference"]

Types = Sequence[onnx.TypeProto | None]


@functools.cache
def guard_inference() -> None:
    """Wraps the rules in onnx's registry, once for the process; to be called before inference."""
    if not hasattr(defs.OpSchema, "get_type_and_shape_inference_function"):
        return  # an onnx whose rules cannot be replaced
    for (domain, op_type), (first, is_survived) in _GUARDS.items():
        version = _NEWEST
        while version >= first:
            schema = defs.get_schema(op_type, version, domain)
            rule = schema.get_type_and_shape_inference_function()
            guarded = functools.partial(_guarded, rule, is_survived)
            schema.set_type_and_shape_inference_function(guarded)
            defs.deregister_schema(op_type, schema.since_version, domain)
            defs.register_schema(schema)
            version = schema.since_version - 1


def _guarded(
    rule: Callable[[Any], None], is_survived: Callable[[Types], bool], context: Any
) -> None:
    places = range(context.get_num_inputs())
    if is_survived([context.get_input_type(place) for place in places]):
        rule(context)


def _sizes(found: onnx.TypeProto | None) -> list[int]:
    return [] if found is None else [dim.dim_value for dim in found.tensor_type.shape.dim]


def _are_sizes(types: Types) -> bool:
    return all(size >= 0 for found in types for size in _sizes(found))


def _is_short(types: Types) -> bool:
    """Whether the list of sizes names no more dimensions than a tensor has."""
    return all(size <= MOST_DIMENSIONS for size in _sizes(types[1]))


def _are_typed(types: Types) -> bool:
    return all(found is not None and found.WhichOneof("value") for found in types)


# Of every domain.
_NEWEST = 1000
_ML = "ai.onnx.ml"
# The first version with such a rule, and what the rule survives.
_GUARDS = {
    ("", "Slice"): (1, _are_sizes),
    ("", "GatherND"): (11, _are_sizes),
    ("", "Expand"): (8, _is_short),
    ("", "EyeLike"): (9, _are_typed),
    ("", "RegexFullMatch"): (20, _are_typed),
    (_ML, "DictVectorizer"): (1, _are_typed),
    (_ML, "LabelEncoder"): (1, _are_typed),
    (_ML, "TreeEnsemble"): (5, _are_typed),
}
