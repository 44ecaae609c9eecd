"""Cut at features: a classifier becomes what it sees, without what it concludes.

    x -> ... -> GlobalAveragePool -> p -> Conv(1000 filters) -> Flatten -> Softmax -> y
    x -> ... -> GlobalAveragePool -> p -> Flatten -> features

The features are what the last layer with weights reads. Walking back from the output, nodes that
only move or scale values are passed; a model that ends in a pooling without Softmax behind it has
no last layer and is kept whole.
"""

import difflib

import numpy as np
import onnx_ir as ir

from q8tool.errors import InputError, UsageError
from q8tool.model.graph import Names, constant, make_initializer
from q8tool.model.shapes import infer_shapes
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.keep_outputs import keep_outputs

__all__ = ["FEATURES", "cut_at_features", "find_features"]

# What the cut model's output is called.
FEATURES = "features"

_PASSED = frozenset(
    {
        "Add", "BatchNormalization", "Cast", "Clip", "Div", "Dropout", "Flatten", "Identity",
        "LogSoftmax", "Mul", "Relu", "Reshape", "Sigmoid", "Softmax", "Squeeze", "Sub",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_POOLING = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean"})
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
_CONCLUSIONS = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})


def find_features(model: ir.Model) -> str:
    """The name of the value that the last layer of a simplified classifier reads.

    Raises InputError if nothing like a last layer ends the model.
    """
    output = model.graph.outputs[0]
    value: ir.Value | None = output
    pooled: ir.Value | None = None
    concludes = False
    while value is not None:
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx"):
            break
        if node.op_type in _LAYERS and constant(node.inputs[1]) is not None:
            if pooled is not None and not concludes:
                return pooled.name or ""
            source = node.inputs[0]
            assert source is not None
            return source.name or ""
        if node.op_type in _POOLING:
            pooled = pooled or value
        elif node.op_type not in _PASSED:
            break
        concludes = concludes or node.op_type in _CONCLUSIONS
        value = next((v for v in node.inputs if v is not None and constant(v) is None), None)
    if pooled is not None and not concludes:
        return pooled.name or ""
    raise InputError(
        f"no last layer ends in output '{output.name}': is the model a classifier?",
        "name the values to learn from with --feature NAME",
    )


def cut_at_features(model: ir.Model, name: str) -> int:
    """Make the named value, pooled and flattened to (N, D), the only output; returns D.

    Of a map (N, C, H, W) or a sequence (N, T, C) the mean is taken. In place. Raises UsageError
    for an unknown name, InputError for a value of unknown width or that is no float.
    """
    _check_name(model, name)
    infer_shapes(model)
    keep_outputs(model, [name])
    graph = model.graph
    value = graph.outputs[0]
    graph.outputs.clear()
    rank = len(value.shape) if value.shape is not None else 0
    if rank not in (2, 3, 4):
        raise InputError(
            f"'{name}' has {rank or 'an unknown number of'} dimensions, features have 2, 3 or 4",
            "name another value with --feature",
        )
    names = Names(graph)
    batch = value.shape[0] if value.shape is not None else "N"
    width = value.shape[1 if rank != 3 else 2] if value.shape is not None else None
    if rank == 4 and not _is_point(value):
        value = _append(graph, names, "GlobalAveragePool", "pool", [value])
    if rank == 3:
        axes = make_initializer(graph, names.new("last_axis"), np.array([3], np.int64))
        value = _append(graph, names, "Transpose", "channels", [value], perm=[0, 2, 1])
        value = _append(graph, names, "Unsqueeze", "wide", [value, axes])
        value = _append(graph, names, "GlobalAveragePool", "pool", [value])
    flat = _append(graph, names, "Flatten", FEATURES, [value], axis=1)
    if not isinstance(width, int):
        raise InputError(f"how many numbers '{name}' holds is not known", "name another: --feature")
    flat.shape = ir.Shape([batch, width])
    flat.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(flat)
    clean_graph(model)
    return width


def _check_name(model: ir.Model, name: str) -> None:
    known = [v.name or "" for node in model.graph for v in node.outputs]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"the base has no value '{name}'", f"did you mean {near[0]}?" if near else ""
        )


def _is_point(value: ir.Value) -> bool:
    """Whether a map (N, C, H, W) is known to be one value high and wide."""
    return value.shape is not None and list(value.shape[2:]) == [1, 1]


def _append(
    graph: ir.Graph, names: Names, op: str, name: str, inputs: list[ir.Value],
    **attributes: int | list[int],
) -> ir.Value:  # fmt: skip
    """A node behind all others; its output is called like it."""
    name = names.new(name)
    node = ir.node(op, inputs, attributes or None, name=name)
    value = node.outputs[0]
    value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    return value
