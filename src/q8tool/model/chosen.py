"""Chosen outputs: those whose length or order follows from values, and what was chosen from.

    scores, boxes --> NonMaxSuppression --> indices --> Gather(boxes) --> found boxes

Two scores that differ in the last place exchange two rows of such an output, so that comparing it
place by place says nothing. What the choice is made from, and what is picked, has its shape and
order. Behind further layers with weights an output is no mere choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from q8tool.model.graph import constant, values_read

__all__ = ["Chosen", "chosen_outputs"]

# Operator -> which inputs it chooses by.
_CHOOSERS = {"Compress": 2, "NonMaxSuppression": 2, "NonZero": 1, "TopK": 1, "Unique": 1}
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})


@dataclass(frozen=True)
class Chosen:
    """outputs: names of the chosen ones; sources: a name for each value chosen from -> its own.

    The names say which operator, and which of its inputs: equal in models that choose alike.
    """

    outputs: frozenset[str]
    sources: Mapping[str, str]


def chosen_outputs(model: ir.Model) -> Chosen:
    """Of the main graph. Nothing if a choice is made from what is constant or fed only."""
    finder = _Finder()
    for node in model.graph:
        finder.visit(node)
    names = frozenset(v.name or "" for v in model.graph.outputs if v in finder.chosen)
    return Chosen(names, finder.sources) if names and finder.sources else Chosen(frozenset(), {})


class _Finder:
    """Walks the nodes in order: chosen values so far, and what they were chosen from."""

    def __init__(self) -> None:
        self.chosen: set[ir.Value] = set()
        self.sources: dict[str, str] = {}
        self._count = 0

    def visit(self, node: ir.Node) -> None:
        """Notes a choice, or what is done with one."""
        chooses = node.domain in ("", "ai.onnx") and node.op_type in _CHOOSERS
        picks = any(value in self.chosen for value in values_read(node))
        if not chooses and (not picks or node.op_type in _LAYERS):
            return
        count = _CHOOSERS[node.op_type] if chooses else len(node.inputs)
        for index, value in enumerate(node.inputs[:count]):
            if value is not None and self._is_computed(value):
                self.sources[f"{node.op_type} {self._count}, input {index}"] = value.name or ""
        self._count += 1
        self.chosen.update(node.outputs)

    def _is_computed(self, value: ir.Value) -> bool:
        is_seen = value in self.chosen or value.is_graph_output() or value.producer() is None
        return not is_seen and constant(value) is None
