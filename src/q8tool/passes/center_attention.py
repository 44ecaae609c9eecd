"""Center attention: what the values of all tokens have in common goes around the attention.

The rows of a softmax P sum to 1, so that a constant row m passes through it unchanged:

    y = P V W + b   =   P (V - 1 m^T) W + (b + m W)

Most probabilities are small and round to 0 or 1 of 255 steps: what a row loses of its sum, times m,
is an error that all results share. Without m it is gone, and the codes of V reach less far. m goes
out of the bias that makes V, and into the bias of the product that reads P V.

    A = x Wv + bv -> Reshape, Transpose, Split -> V      chains of data movement: which channel of A
    P V -> Transpose, Reshape -> y = ... W + b           arrives where is found by moving numbers

For codes the idea is ours; the identity is that of softmax attention.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.model.change import Change
from q8tool.model.graph import Names, constant, get_float, get_int, make_initializer, node_label

__all__ = ["center_attention", "centered_values"]

_MOVING = frozenset({"Reshape", "Transpose", "Split", "Squeeze", "Unsqueeze", "Identity"})

Values = NDArray[np.float64]
Place = tuple[ir.Node, int]


@dataclass(frozen=True)
class _Attention:
    """One product of probabilities and values.

    product   the MatMul
    source    makes the values: its last axis are the channels
    bias      (node, index) of the constant row in it
    weights, reader_bias  (node, index) of the constants of the operator that reads the result
    values    those between source and reader, all of which change
    channels  (inputs of the reader,): the channel of the source that each one comes from
    """

    product: ir.Node
    source: ir.Value
    bias: Place
    weights: Place
    reader_bias: Place
    values: Sequence[ir.Value]
    channels: NDArray[np.intp]


def centered_values(model: ir.Model) -> list[str]:
    """Names of the values whose mean of each channel (the last axis) center_attention needs."""
    return [found.source.name or "" for found in _attentions(model)]


def center_attention(model: ir.Model, means: Mapping[str, Values]) -> list[Change]:
    """Moves the means out of the values of every attention, in place.

    means  by the names of centered_values, (channels,); attentions without are left alone
    Each change names a value that is another one now.
    """
    names, changes = Names(model.graph), []
    for found in _attentions(model):
        mean = means.get(found.source.name or "")
        if mean is None:
            continue
        moved = np.zeros_like(mean)
        moved[found.channels] = mean[found.channels]
        node = found.weights[0]
        matrix = _constant_at(found.weights).astype(np.float64)
        if node.op_type == "Gemm" and get_int(node, "transB", 0):
            matrix = matrix.T
        _add(model.graph, names, found.bias, -moved)
        _add(model.graph, names, found.reader_bias, mean[found.channels] @ matrix)
        what = f"a mean of its channels goes around {node_label(found.product)}"
        changes += [Change("center_attention", value.name or "", what) for value in found.values]
    return changes


def _attentions(model: ir.Model) -> list[_Attention]:
    nodes = (node for node in model.graph if node.op_type == "MatMul")
    return [found for node in nodes if (found := _attention(model, node)) is not None]


def _attention(model: ir.Model, product: ir.Node) -> _Attention | None:
    """The attention whose values the node multiplies; None where not all of it is understood."""
    rows, values = product.inputs[0], product.inputs[1]
    if rows is None or values is None or not _sums_to_one(rows):
        return None
    before = _chain_before(values)
    source = before[0].inputs[0] if before else values
    bias = None if source is None else _bias_of(source)
    after = _chain_after(product.outputs[0])
    result = after[-1].outputs[0] if after else product.outputs[0]
    reader = _reader_of(result)
    if source is None or bias is None or reader is None:
        return None
    if any(value.dtype != ir.DataType.FLOAT for value in (source, product.outputs[0])):
        return None
    channels = _channels(model, (source, before, values), (product.outputs[0], after, result))
    if channels is None or len(channels) != _inputs_of(reader[0][0]):
        return None
    between = [source, *(v for node in before for v in node.outputs), *product.outputs]
    between += [value for node in after for value in node.outputs]
    return _Attention(product, source, bias, *reader, between, channels)


def _sums_to_one(value: ir.Value) -> bool:
    """True for a softmax along the last axis."""
    node = value.producer()
    if node is None or node.op_type != "Softmax" or value.shape is None:
        return False
    return get_int(node, "axis", -1) in (-1, len(value.shape) - 1)


def _chain_before(value: ir.Value) -> list[ir.Node]:
    """The data movement that leads to the value, in order."""
    chain: list[ir.Node] = []
    node = value.producer()
    while node is not None and _only_moves(node):
        chain.insert(0, node)
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return chain


def _chain_after(value: ir.Value) -> list[ir.Node]:
    chain: list[ir.Node] = []
    node = _only_reader(value)
    while node is not None and _only_moves(node) and len(node.outputs) == 1:
        chain.append(node)
        node = _only_reader(node.outputs[0])
    return chain


def _only_moves(node: ir.Node) -> bool:
    return (
        node.op_type in _MOVING
        and node.domain == ""
        and all(constant(value) is not None for value in node.inputs[1:] if value is not None)
    )


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _bias_of(value: ir.Value) -> Place | None:
    """The constant row that the value's producer adds to a product with weights."""
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Gemm" and len(node.inputs) > 2 and get_float(node, "beta", 1.0) == 1.0:
        return (node, 2) if _is_row(node.inputs[2]) else None
    if node.op_type != "Add":
        return None
    for index, other in ((0, 1), (1, 0)):
        made = node.inputs[other]
        producer = None if made is None else made.producer()
        is_product = producer is not None and producer.op_type == "MatMul"
        if is_product and made is not None and _only_reader(made) and _is_row(node.inputs[index]):
            return node, index
    return None


def _reader_of(value: ir.Value) -> tuple[Place, Place] | None:
    """Weights and bias of the product that alone reads the value."""
    node = _only_reader(value)
    if node is None or node.inputs[0] is not value:
        return None
    weights = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weights is None or weights.ndim != 2:
        return None
    if node.op_type == "MatMul":
        adder = _only_reader(node.outputs[0])
        bias = None if adder is None else _bias_of(adder.outputs[0])
        return None if bias is None else ((node, 1), bias)
    if node.op_type != "Gemm" or get_float(node, "alpha", 1.0) != 1.0 or get_int(node, "transA", 0):
        return None
    bias = _bias_of(node.outputs[0])
    return None if bias is None else ((node, 1), bias)


def _is_row(value: ir.Value | None) -> bool:
    array = constant(value)
    if array is None or array.dtype != np.float32 or not array.ndim:
        return False
    return bool(array.size == array.shape[-1])


def _inputs_of(node: ir.Node) -> int:
    weights = constant(node.inputs[1])
    assert weights is not None
    turned = node.op_type == "Gemm" and bool(get_int(node, "transB", 0))
    return int(weights.shape[1 if turned else 0])


def _channels(
    model: ir.Model,
    before: tuple[ir.Value, Sequence[ir.Node], ir.Value],
    after: tuple[ir.Value, Sequence[ir.Node], ir.Value],
) -> NDArray[np.intp] | None:
    """Which channel of the source each input of the reader is; None if tokens differ in that."""
    source, value = _sizes(before[0]), _sizes(before[2])
    product, result = _sizes(after[0]), _sizes(after[2])
    if source is None or value is None or product is None or result is None:
        return None
    if len(value) < 2 or product[:-2] != value[:-2] or product[-1] != value[-1]:
        return None
    read = (before[0], *(node.inputs[0] for node in before[1]), before[2])
    if any(value is None or _only_reader(value) is None for value in read):
        return None
    found = _moved(model, *before, np.broadcast_to(np.arange(source[-1]), source))
    if not np.array_equal(found, np.broadcast_to(found[..., :1, :], found.shape)):
        return None
    table = found[..., 0, :].reshape(-1)
    numbers = np.arange(len(table)).reshape(*value[:-2], 1, value[-1])
    moved = _moved(model, *after, np.broadcast_to(numbers, product)).reshape(-1, result[-1])
    if not np.array_equal(moved, np.broadcast_to(moved[:1], moved.shape)):
        return None
    return np.asarray(table[moved[0]], np.intp)


def _sizes(value: ir.Value) -> tuple[int, ...] | None:
    """The shape with open dimensions as 1."""
    if value.shape is None or not len(value.shape):
        return None
    return tuple(size if isinstance(size, int) else 1 for size in value.shape)


def _moved(
    model: ir.Model,
    source: ir.Value,
    nodes: Sequence[ir.Node],
    result: ir.Value,
    numbers: NDArray[Any],
) -> NDArray[np.intp]:
    """What the chain makes of an array of whole numbers."""
    if not nodes:
        return np.asarray(numbers, np.intp)
    constants = dict.fromkeys(v for node in nodes for v in node.inputs[1:] if v is not None)
    view = ir.GraphView(
        [source], [result], nodes=nodes, initializers=tuple(constants),
        opset_imports=model.graph.opset_imports, name=model.graph.name,
    )  # fmt: skip
    piece = view.clone()
    for value in constants:  # those of Constant nodes have their numbers there
        piece.initializers[value.name or ""].const_value = ir.Tensor(_array_of(value))
    piece.inputs[0].shape = ir.Shape(numbers.shape)
    session = Session(ir.Model(piece, ir_version=model.ir_version), threads=1)
    outputs = session.run({source.name or "": np.ascontiguousarray(numbers, np.float32)})
    return np.asarray(outputs[result.name or ""], np.intp)


def _constant_at(place: Place) -> NDArray[Any]:
    return _array_of(place[0].inputs[place[1]])


def _array_of(value: ir.Value | None) -> NDArray[Any]:
    array = constant(value)
    assert array is not None
    return array


def _add(graph: ir.Graph, names: Names, place: Place, row: Values) -> None:
    node, index = place
    old, value = _constant_at(place), node.inputs[index]
    name = names.new(f"{value.name if value is not None else node.name}_centered")
    new = (old.astype(np.float64) + row.reshape(old.shape)).astype(np.float32)
    node.replace_input_with(index, make_initializer(graph, name, new))
