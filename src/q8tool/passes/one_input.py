"""Functions of one tensor: which nodes together compute every element from one element.

    x -> Div(1.41) -> Erf -> Add(1) -> Mul(x) -> Mul(0.5)        GELU, as exporters write it
    x -> Sigmoid -> Mul(x)                                       SiLU

For codes all of it is one table, as long as nothing in between is rounded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from q8tool.model.graph import constant
from q8tool.ops.registry import row

__all__ = ["OneInput", "is_number", "one_input"]

# Elementwise operators that are nothing to quantize on their own.
_MORE = frozenset({"Div", "Max", "Min", "Pow"})
# A function that a tool wrote has a dozen nodes at most.
_MOST_NODES = 24


@dataclass(frozen=True)
class OneInput:
    """A function of x.

    nodes   those that compute it, each after those that it reads
    """

    x: ir.Value
    nodes: Sequence[ir.Node]

    @property
    def places(self) -> tuple[tuple[ir.Node, int], ...]:
        """(node, index) where the nodes read x."""
        return tuple(
            (node, index)
            for node in self.nodes
            for index, value in enumerate(node.inputs)
            if value is self.x
        )


def one_input(node: ir.Node, stops: Callable[[ir.Node], bool]) -> OneInput | None:
    """The longest function of one tensor that ends with the node; None if there is none.

    stops  nodes that belong to something else. Nobody but the function sees what lies inside it.
    """
    ends = _varying(node)
    if ends is None or stops(node):
        return None
    inside = [node]
    found = OneInput(next(iter(ends)), [node]) if len(ends) == 1 else None
    while len(inside) < _MOST_NODES:
        step = next((p for value in ends if (p := _inner(value, inside, stops))), None)
        if step is None:
            break
        inside.append(step)
        more = _varying(step) or {}
        ends = {value: None for value in (*ends, *more) if value is not step.outputs[0]}
        if len(ends) == 1:
            found = OneInput(next(iter(ends)), inside[::-1])
    return found


def is_number(value: ir.Value | None) -> bool:
    """True for a constant of one element."""
    array = constant(value)
    return array is not None and array.size == 1


def _varying(node: ir.Node) -> dict[ir.Value, None] | None:
    """The inputs that are no numbers, each once; None if the node is not elementwise."""
    found = row(node.domain, node.op_type)
    if found is None or (
        found.quantization not in ("table", "binary") and node.op_type not in _MORE
    ):
        return None
    return {v: None for v in node.inputs if v is not None and not is_number(v)} or None


def _inner(
    value: ir.Value, inside: Sequence[ir.Node], stops: Callable[[ir.Node], bool]
) -> ir.Node | None:
    """The value's producer if it is elementwise and only nodes inside read the value."""
    node = value.producer()
    if node is None or value.is_graph_output() or node.graph is not inside[0].graph:
        return None
    if any(usage.node not in inside for usage in value.uses()) or stops(node):
        return None
    return node if _varying(node) else None
