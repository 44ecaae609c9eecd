"""Parts: a model whose weights do not fit into memory, run a few layers at a time.

    nodes | part 1 | part 2 | part 3       all samples through part 1, then all through part 2 ...
          +--> boundary values +-->

A part has the weights of its nodes only, and goes before the next one is compiled. Between parts
the values that later nodes read are kept, for every sample.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.model.graph import values_read

__all__ = ["LARGE", "run_in_parts"]

LARGE = 1_000_000_000
"""From so many bytes of weights on a model is better run in parts."""

# Bytes of weights in a part, if no single node has more.
_PART = 150_000_000
_TIMED_RUNS = 2

Array = NDArray[Any]
Feeds = Mapping[str, Array]


def run_in_parts(
    model: ir.Model,
    samples: Sequence[Feeds],
    threads: int | None = None,
    part: int = _PART,
    *,
    observe: Sequence[str] = (),
) -> tuple[list[dict[str, Array]], float]:
    """The outputs for each sample, and the milliseconds of one run: the parts' fastest, added up.

    part     bytes of weights to have in memory at once
    observe  names of intermediate values that are returned as well
    """
    outputs = {value.name or "" for value in model.graph.outputs}.union(observe)
    known: list[dict[str, Array]] = [dict(feeds) for feeds in samples]
    nodes, milliseconds = list(model.graph), 0.0
    for start, stop in _cuts(nodes, part):
        needed = outputs | {name for node in nodes[stop:] for name in _reads(node)}
        piece = _piece(model, start, stop, set(known[0]), needed)
        session = Session(piece, threads=threads)
        names = [info.name for info in session.inputs]
        for values in known:
            values.update(session.run({name: values[name] for name in names}))
        milliseconds += _fastest(session, {name: known[0][name] for name in names})
        for values in known:
            for name in set(values) - needed:
                del values[name]
    return [{name: values[name] for name in outputs} for values in known], milliseconds


def _fastest(session: Session, feeds: Feeds) -> float:
    best = np.inf
    for _ in range(_TIMED_RUNS):
        begin = time.perf_counter()
        session.run(feeds)
        best = min(best, (time.perf_counter() - begin) * 1e3)
    return float(best)


def _cuts(nodes: Sequence[ir.Node], part: int) -> list[tuple[int, int]]:
    """Where parts begin and end: as many nodes as their weights fit."""
    cuts, start, size = [], 0, 0
    counted: set[ir.Value] = set()
    for index, node in enumerate(nodes):
        own = {v for v in values_read(node) if v.const_value is not None} - counted
        more = sum(value.const_value.nbytes for value in own if value.const_value is not None)
        if size and size + more > part:
            cuts.append((start, index))
            start, size, counted = index, 0, set()
        size += more
        counted |= own
    return [*cuts, (start, len(nodes))]


def _reads(node: ir.Node) -> set[str]:
    return {value.name or "" for value in values_read(node)}


def _piece(model: ir.Model, start: int, stop: int, known: set[str], needed: set[str]) -> ir.Model:
    """The nodes from start to before stop as a model of its own.

    known   names of values that are there already;  needed  names of those that later nodes read
    """
    copy = model.clone()
    graph = copy.graph
    nodes = list(graph)
    reads = {name for node in nodes[start:stop] for name in _reads(node)}
    graph.outputs.clear()
    graph.outputs.extend(
        value for node in nodes[start:stop] for value in node.outputs if value.name in needed
    )
    inputs = [value for value in graph.inputs if value.name in reads]
    for value in (value for node in nodes[:start] for value in node.outputs):
        if value.name in known and value.name in reads:
            outer = ir.Value(name=value.name, shape=value.shape, type=value.type)
            value.name = f"{value.name}_before"
            value.replace_all_uses_with(outer)
            inputs.append(outer)
    graph.remove([*nodes[:start], *nodes[stop:]])
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
    return copy
