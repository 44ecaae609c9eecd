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
    lower_pool,
    lower_quantize,
    lower_resize,
)
from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph
from q8tool.engine.lowering import Lowering, LoweringFunction

__all__ = ["LOWERINGS", "new_lowering"]

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
        lower_pool,
        lower_quantize,
        lower_resize,
    )
    for op_type, function in family.LOWERINGS.items()
}


def new_lowering(
    graph: Graph, facts: Mapping[str, Fact], kept: Sequence[str], *, native: bool = True
) -> Lowering:
    """A lowering that is ready to run; native False leaves every node to the host."""
    lowering = Lowering(graph, facts, kept, LOWERINGS if native else {})
    if native:
        lower_quantize.note_quantized_constants(lowering)
    return lowering
