"""What a node makes of known values, by the quickest that can compute it."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from q8tool.engine.graph import Node
from q8tool.ops.simple import simple_results

__all__ = ["evaluated", "evaluated_simply"]

Array = NDArray[Any]


def evaluated(node: Node, inputs: Sequence[Array], opsets: Mapping[str, int]) -> list[Array]:
    """The outputs of a node without subgraphs. Raises InputError if it refuses these inputs.

    inputs  of what node.reads names
    """
    simple = evaluated_simply(node, inputs)
    if simple is not None:
        return simple
    from q8tool.ops.host import shared_operator

    return shared_operator(node.proto, node.reads, opsets, inputs).run(inputs)


def evaluated_simply(node: Node, inputs: Sequence[Array]) -> list[Array] | None:
    """The outputs where one call of numpy gives them, else None."""
    if node.domain or node.captured or len(node.outputs) != 1:
        return None
    values = dict(zip(node.reads, inputs, strict=True))
    ordered = [values[name] if name else None for name in node.inputs]
    return simple_results(node.op_type, node.attributes, ordered)
