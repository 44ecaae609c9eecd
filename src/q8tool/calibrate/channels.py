"""Channel statistics: per channel ends, sum and sum of squares of tensors over all samples.

The reductions run inside the engine's plan: of each tensor four numbers per channel leave it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample
from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.model.graph import Names, insert_behind

__all__ = ["Channels", "collect_channels"]

_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum", "ReduceSumSquare")
# From these opsets on axes are an input of the reductions, and of sums.
_AXES_ARE_INPUT = 18
_AXES_OF_SUMS_ARE_INPUT = 13

Values = NDArray[np.float64]


@dataclass
class Channels:
    """One tensor over all samples; per channel, real units.

    low, high   (channels,)
    highs       (samples, channels): each sample's highest
    sums, squares  of all values and of their squares;  count  values of one channel
    """

    low: Values
    high: Values
    sums: Values
    squares: Values
    count: int = 0
    highs: list[Values] = field(default_factory=list)

    def update(self, low: Values, high: Values, sums: Values, squares: Values, count: int) -> None:
        """Takes one sample."""
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.sums, self.squares = self.sums + sums, self.squares + squares
        self.count += count
        self.highs.append(high)


def collect_channels(
    model: ir.Model,
    samples: Iterable[Sample],
    axes: Mapping[str, int],
    threads: int | None = None,
) -> dict[str, Channels]:
    """What the samples show of the named tensors, by name.

    axes  name -> the axis of its channels, 1 or -1. Tensors of unknown rank are left out.
    """
    copy = model.clone()
    watched = _watch(copy, axes)
    names = [name for outputs in watched.values() for name in outputs]
    session = Session(copy, threads=threads, observe=names)
    kept: dict[str, Channels] = {}
    fed = ((None, sample.feeds) for sample in samples)
    for results in run_each(session, fed, lambda _, results: results, names):
        for name, outputs in watched.items():
            *rows, shape = (np.asarray(results[output], np.float64).ravel() for output in outputs)
            low, high, sums, squares = rows
            if name not in kept:
                kept[name] = Channels(low, high, np.zeros_like(sums), np.zeros_like(squares))
            kept[name].update(low, high, sums, squares, int(shape.prod()) // max(1, len(low)))
    return kept


def _watch(model: ir.Model, axes: Mapping[str, int]) -> dict[str, list[str]]:
    """Adds the reductions and the shape of each tensor; their names."""
    graph, names = model.graph, Names(model.graph)
    values = {value.name or "": value for node in graph for value in node.outputs}
    watched: dict[str, list[str]] = {}
    for name, axis in axes.items():
        shape = values[name].shape
        if shape is None:
            continue
        nodes = []
        others = [other for other in range(len(shape)) if other != axis % len(shape)]
        for op_type in (*_REDUCTIONS, "Shape"):
            output = ir.Value(name=names.new(f"{name}/{op_type}"), type=values[name].type)
            node = ir.node(op_type, [values[name]], outputs=[output])
            if op_type == "Shape":
                output.type = ir.TensorType(ir.DataType.INT64)
            else:
                _set_axes(graph, names, node, others)
            nodes.append(node)
            watched.setdefault(name, []).append(output.name or "")
        insert_behind(values[name], nodes)
    return watched


def _set_axes(graph: ir.Graph, names: Names, node: ir.Node, axes: list[int]) -> None:
    node.attributes["keepdims"] = ir.AttrInt64("keepdims", 0)
    since = _AXES_OF_SUMS_ARE_INPUT if node.op_type == "ReduceSum" else _AXES_ARE_INPUT
    if graph.opset_imports.get("", 1) < since:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
        return
    name = names.new("axes")
    tensor = ir.Tensor(np.asarray(axes, np.int64), name=name)
    value = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), const_value=tensor)
    graph.register_initializer(value)
    node.resize_inputs(2)
    node.replace_input_with(1, value)
