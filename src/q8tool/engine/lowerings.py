"""All lowerings by operator, and the walk from a graph to steps."""

from collections.abc import Mapping, Sequence

from q8tool.engine import (
    lower_concat,
    lower_conv,
    lower_elementwise,
    lower_float,
    lower_integer,
    lower_matmul,
    lower_movement,
    lower_normalization,
    lower_pool,
    lower_quantize,
    lower_resize,
    lower_sequence,
)
from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.ops.registry import OWN_DOMAIN

__all__ = ["COMPUTING", "LOWERINGS", "MOVING", "new_lowering"]

LOWERINGS: dict[tuple[str, str], LoweringFunction] = {
    ("", op_type): function
    for family in (
        lower_concat,
        lower_conv,
        lower_elementwise,
        lower_float,
        lower_integer,
        lower_matmul,
        lower_movement,
        lower_normalization,
        lower_pool,
        lower_quantize,
        lower_resize,
        lower_sequence,
    )
    for op_type, function in family.LOWERINGS.items()
}
# Softmax rounds after each of its steps where it works in half floats; Cast is what others need.
COMPUTING = LOWERINGS.keys() - {("", name) for name in ("Cast", "Softmax", "LogSoftmax")}
"""Operators that do in float32 what they do in half floats, but for one rounding at the end."""
MOVING = frozenset(
    ("", op_type)
    for family in (lower_concat, lower_movement, lower_sequence)
    for op_type in family.LOWERINGS
)
"""Operators that give the values of their inputs, unchanged."""
LOWERINGS[OWN_DOMAIN, "Histogram"] = lower_float.lower_histogram


def new_lowering(
    graph: Graph, facts: Mapping[str, Fact], kept: Sequence[str], refused: Mapping[Node, str]
) -> Lowering:
    """A lowering that is ready to run; nodes in `refused` go to the host for the reason given."""
    lowering = Lowering(graph, facts, kept, LOWERINGS, refused)
    lower_quantize.note_quantized_constants(lowering)
    return lowering
