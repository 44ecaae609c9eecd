"""Watch: what of a tensor leaves the engine, as little as the method needs.

    minmax, photo-percentile   x -> Ends -> lowest, highest, sum
    those with counts          the same, and x, ends -> Histogram -> counts per bin

These are nodes that are added to a copy of the model, so that they run inside its plan. The sum
is there for NaN, which minima and maxima pass over.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.observers import WITH_COUNTS, Method
from q8tool.model.graph import Names, insert_behind
from q8tool.numerics.ends import joined_ends
from q8tool.ops.registry import OWN_DOMAIN

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

    def seen(
        self, tensor: str, results: Mapping[str, NDArray[Any]]
    ) -> tuple[float, float, NDArray[np.int64] | None] | None:
        """The tensor's lowest and highest value, and the counts that the method asks for.

        None if the tensor is empty; NaN as both ends if there is one in it. What Observer.take
        wants.
        """
        ends, *counts = (results[name] for name in self.sources[tensor])
        low, high, total = joined_ends(ends)
        if math.isnan(total):
            low = high = math.nan
        elif low > high:
            return None
        return low, high, counts[0] if counts else None


def watched(model: ir.Model, names: Sequence[str], method: Method) -> Watched:
    """Prepares a model for observing the named values of its main graph (inputs excluded)."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    sources: dict[str, tuple[str, ...]] = {}
    new_names = Names(copy.graph)
    copy.graph.opset_imports[OWN_DOMAIN] = 1
    for name in names:
        value = values[name]
        ends = ir.Value(name=new_names.new(f"{name}/Ends"), type=ir.TensorType(ir.DataType.FLOAT))
        nodes = [ir.node("Ends", [value], domain=OWN_DOMAIN, outputs=[ends])]
        if method in WITH_COUNTS:
            counts = ir.Value(
                name=new_names.new(f"{name}/Histogram"), type=ir.TensorType(ir.DataType.INT64)
            )
            nodes.append(ir.node("Histogram", [value, ends], domain=OWN_DOMAIN, outputs=[counts]))
        insert_behind(value, nodes)
        sources[name] = tuple(node.outputs[0].name or "" for node in nodes)
    return Watched(copy, sources)
