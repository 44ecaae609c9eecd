"""Nodes in an order in which they can run: the standard wants it, some tools do not care."""

import heapq
from collections.abc import Iterator

import onnx

__all__ = ["sort_nodes"]


def sort_nodes(model: onnx.ModelProto) -> bool:
    """Bring the nodes of the main graph into such an order, in place; True if any has moved.

    Nodes keep their order as far as that allows. A graph with a cycle stays as it is. Takes time
    linear in nodes, but for a logarithm.
    """
    nodes = list(model.graph.node)
    producers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{producers[n] for n in _reads(node) if n in producers} for node in nodes]
    if all(max(need, default=-1) < position for position, need in enumerate(needs)):
        return False
    readers: list[list[int]] = [[] for _ in nodes]
    for position, need in enumerate(needs):
        for producer in need:
            readers[producer].append(position)
    waiting = [len(need) for need in needs]
    ready = [position for position, count in enumerate(waiting) if not count]
    order = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for reader in readers[position]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        return False
    copies = [onnx.NodeProto.FromString(nodes[position].SerializeToString()) for position in order]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return True


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, and all that its subgraphs read, their own included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)
