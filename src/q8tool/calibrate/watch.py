"""Watch: what of a tensor leaves the engine, as little as the method needs.

    minmax, photo-percentile   x -> ReduceMin, ReduceMax, ReduceSum -> three numbers
    percentile, mse            x -> the tensor itself

The reductions are nodes that are added to a copy of the model, so that they run inside its plan.
The sum is there for NaN, which minima and maxima pass over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.observers import Method
from q8tool.model.graph import Names

__all__ = ["Watched", "watched"]


@dataclass(frozen=True)
class Watched:
    """The model to run, what to observe, and which observed values stand for which tensor."""

    model: ir.Model
    sources: dict[str, tuple[str, ...]]

    @property
    def observed(self) -> list[str]:
        """Names of the values that the session must return."""
        return [name for names in self.sources.values() for name in names]

    def values(self, tensor: str, results: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Values with the tensor's extremes, or all of them. Empty if the tensor is."""
        parts = [np.asarray(results[name], np.float32).ravel() for name in self.sources[tensor]]
        if len(parts) == 1:
            return parts[0]
        lowest, highest, total = parts
        # The least of nothing is infinite, and above the greatest of nothing.
        if lowest > highest:
            return lowest[:0]
        return np.concatenate([lowest, highest, total[np.isnan(total)]])


def watched(model: ir.Model, names: Sequence[str], method: Method) -> Watched:
    """Prepares a model for observing the named values of its main graph (inputs excluded)."""
    if method in ("percentile", "mse"):
        return Watched(model, {name: (name,) for name in names})
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    sources = {}
    new_names = Names(copy.graph)
    for name in names:
        value = values[name]
        nodes = [
            ir.node(
                op_type,
                [value],
                {"keepdims": 0},
                outputs=[_scalar(new_names.new(f"{name}/{op_type}"), value)],
            )
            for op_type in ("ReduceMin", "ReduceMax", "ReduceSum")
        ]
        copy.graph.extend(nodes)
        sources[name] = tuple(node.outputs[0].name or "" for node in nodes)
    return Watched(copy, sources)


def _scalar(name: str, like: ir.Value) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape([]), type=like.type)
