"""Which operators somebody here implements."""

from q8tool.engine.graph import Graph
from q8tool.engine.lowerings import LOWERINGS
from q8tool.ops.simple import SIMPLE

__all__ = ["refuse_unknown_operators"]


def refuse_unknown_operators(graph: Graph) -> None:
    """Raises UnsupportedError for an operator that nobody implements, before any run needs it."""
    seen = {*LOWERINGS, *(("", name) for name in (*SIMPLE, "Constant", "Shape"))}
    for node in graph.nodes:
        if (node.domain, node.op_type) not in seen:
            from q8tool.ops.host import HostOperator

            HostOperator(node.proto, node.reads, graph.opsets)
            seen.add((node.domain, node.op_type))
