"""What models hold inside each other: branches and bodies within nodes, calls within functions.

Both grow without need of many bytes: a small file can hold so many graphs, or functions that call
each other twice, and twice again, that reading it takes hours. Such a file is refused at once.
"""

from collections.abc import Iterator

import onnx
from onnx import AttributeProto, NodeProto

from q8tool.errors import InputError

__all__ = ["MOST_CALLED_NODES", "MOST_GRAPHS", "MOST_LEVELS", "refuse_excess"]

MOST_GRAPHS = 1024
"""Graphs inside nodes, all levels together; exported models have tens."""

MOST_LEVELS = 2048
"""How deep each of these lies, all together: whoever walks a graph walks all that lies inside of
it, so that this is what a walk of every graph takes. Exported models nest two or three deep.
"""

MOST_CALLED_NODES = 100_000
"""Nodes when every call of a function is replaced by the function's nodes."""

# A graph takes about as long to read as so many nodes.
_GRAPH_WEIGHT = 64


def refuse_excess(proto: onnx.ModelProto, where: str) -> None:
    """Raises InputError for a model with too many graphs inside nodes, or too many calls.

    where   names the model in the message, usually its file
    """
    graphs = levels = 0
    called = [node for function in proto.functions for node in function.node]
    for level, held in _held([*proto.graph.node, *called]):
        graphs += held
        levels += level * held
        if graphs > MOST_GRAPHS or levels > MOST_LEVELS:
            raise InputError(
                f"{where}: {graphs} and more graphs lie inside its nodes, down to {level} deep",
                "no such model was ever exported: the file is damaged, or made to harm",
            )
    if proto.functions:
        _refuse_calls(proto, where)


def _held(nodes: list[NodeProto]) -> Iterator[tuple[int, int]]:
    """Level by level, how many graphs each node holds directly; nodes without are left out."""
    level = 0
    while nodes:
        level += 1
        inner: list[NodeProto] = []
        for node in nodes:
            found = list(_graphs(node))
            if found:
                yield level, len(found)
                inner.extend(item for graph in found for item in graph.node)
        nodes = inner


def _graphs(node: NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def _refuse_calls(proto: onnx.ModelProto, where: str) -> None:
    """Counts nodes as if every call were written out, functions that others call first."""
    bodies = {(f.domain, f.name): list(_all_nodes(list(f.node))) for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_calls: dict[tuple[str, str], None] = {}
    waiting = list(bodies)
    while waiting:
        name = waiting[-1]
        called = {(n.domain, n.op_type) for n in bodies[name]} & bodies.keys()
        missing = [other for other in called if other not in sizes]
        if name in sizes or not missing:
            sizes.setdefault(name, _size(bodies[name], sizes))
            open_calls.pop(name, None)
            waiting.pop()
            continue
        if name in open_calls:
            raise InputError(f"{where}: function '{name[1]}' calls itself")
        open_calls[name] = None
        waiting.extend(missing)
    if _size(list(_all_nodes(list(proto.graph.node))), sizes) > MOST_CALLED_NODES:
        raise InputError(
            f"{where}: its functions call each other so often that it has more than "
            f"{MOST_CALLED_NODES:,} nodes"
        )


def _all_nodes(nodes: list[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of the graphs inside them."""
    while nodes:
        yield from nodes
        nodes = [item for node in nodes for graph in _graphs(node) for item in graph.node]


def _size(nodes: list[NodeProto], sizes: dict[tuple[str, str], int]) -> int:
    graphs = sum(len(list(_graphs(node))) for node in nodes)
    own = sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)
    return own + _GRAPH_WEIGHT * graphs
