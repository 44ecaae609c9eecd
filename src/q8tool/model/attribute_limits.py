"""Attributes on which onnx's own inference of shapes reads outside its arrays, or never ends.

Damaged files hold such. Whoever is about to ask onnx looks at the attributes first.
"""

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto

from q8tool.model.limits import MOST_DIMENSIONS

__all__ = ["absurd_attribute", "has_absurd_attribute"]

_AXES = frozenset({"axis", "axes", "batch_axis", "batch_dims", "new_axis", "perm", "time_axis"})
# Where an axis, these count from the front only.
_COUNTS = frozenset({"batch_dims"})
_MOST_PARTS = 1 << 16


def absurd_attribute(
    op_type: str, attributes: Mapping[str, Any], inputs: int, outputs: int
) -> str | None:
    """The name of an attribute that no node of so many inputs and outputs can have, or None.

    That is an axis that no tensor has, an equation (of Einsum) that is none, fewer parts (of Split)
    than there are outputs or so many that nobody has as many, and other lists to go along (of Scan)
    than there are inputs.
    """
    for name, value in attributes.items():
        if name == "equation":
            is_absurd = isinstance(value, str) and not _is_equation(value)
        elif name == "num_outputs":
            is_absurd = op_type == "Split" and not _is_between(outputs, value, _MOST_PARTS)
        elif name == "num_scan_inputs":
            is_absurd = op_type == "Scan" and not _is_between(1, value, inputs)
        else:
            is_absurd = name in _AXES and _is_no_axis(name, value)
        if is_absurd:
            return name
    return None


def _is_no_axis(name: str, value: Any) -> bool:
    axes = [value] if isinstance(value, int) else value
    least = 0 if name in _COUNTS else -MOST_DIMENSIONS
    return isinstance(axes, list | tuple) and any(
        isinstance(axis, int) and not least <= axis <= MOST_DIMENSIONS for axis in axes
    )


def _is_between(least: int, value: Any, most: int) -> bool:
    return isinstance(value, int) and least <= value <= most


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
        node = waiting.pop()
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)
        counts = len(node.input), len(node.output)
        if absurd_attribute(node.op_type, _values(node), *counts) is not None:
            return True
    return False


def _values(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: _value(attribute) for attribute in node.attribute}


def _value(attribute: AttributeProto) -> Any:
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    return attribute.i if attribute.type == AttributeProto.INT else list(attribute.ints)
