"""Attributes on which onnx's own inference of shapes reads outside its arrays, or never ends.

Damaged files hold such. Whoever is about to ask onnx looks at the attributes first.
"""

from typing import Any

import onnx
from onnx import AttributeProto

from q8tool.model.limits import MOST_DIMENSIONS

__all__ = ["has_absurd_attribute", "is_absurd_attribute"]

_AXES = frozenset({"axis", "axes", "batch_axis", "batch_dims", "new_axis", "perm", "time_axis"})


def is_absurd_attribute(name: str, value: Any) -> bool:
    """True for an axis that no tensor has, and for an equation (of Einsum) that is none."""
    if name == "equation":
        return isinstance(value, str) and not _is_equation(value)
    if name not in _AXES:
        return False
    axes = [value] if isinstance(value, int) else value
    return isinstance(axes, list | tuple) and any(
        isinstance(axis, int) and abs(axis) > MOST_DIMENSIONS for axis in axes
    )


def _is_equation(text: str) -> bool:
    """Letters and one ellipsis in each term, commas between terms, at most one arrow."""
    sides = text.replace(" ", "").split("->")
    terms = [term.replace("...", "", 1) for side in sides for term in side.split(",")]
    return len(sides) <= 2 and all(not term or _is_word(term) for term in terms)


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalpha()


def has_absurd_attribute(model: onnx.ModelProto) -> bool:
    """Whether a node has one: of the graph, of bodies in it, of the functions."""
    waiting = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while waiting:
        for attribute in waiting.pop().attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)
            if is_absurd_attribute(attribute.name, _value(attribute)):
                return True
    return False


def _value(attribute: AttributeProto) -> Any:
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    return attribute.i if attribute.type == AttributeProto.INT else list(attribute.ints)
