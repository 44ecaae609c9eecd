"""com.microsoft's transformer blocks: Attention, normalized embeddings, and those of codes.

onnxruntime's optimizer writes Attention and EmbedLayerNormalization, its quantizer makes QAttention
and QEmbedLayerNormalization of them.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from q8tool.model.foreign_float import layer_norm, number
from q8tool.model.foreign_integer import float_product
from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import get_float, get_int, get_ints

__all__ = ["REPLACE"]

_FLOAT = int(ir.DataType.FLOAT)
_INT32 = int(ir.DataType.INT32)


def _attention(new: Replacement, node: ir.Node) -> Coded | None:
    """One product makes queries, keys and values; then what all attentions do.

    Those with a past or a bias of the scores stay.
    """
    x, weights, bias, mask, *rest = padded_inputs(node, 7)
    if bias is None or not _is_known(new, node, weights, mask, rest):
        return None
    both = new.one("Add", new.one("MatMul", x, weights), bias)
    return [_attended(new, node, x, both, weights, mask)]


def _coded_attention(new: Replacement, node: ir.Node) -> Coded | None:
    """As Attention, of codes x and weights with a scale and a zero point each."""
    x, weights, bias, x_scale, scale, mask, x_zero, zero, *rest = padded_inputs(node, 9)
    if not _is_known(new, node, weights, mask, rest):
        return None
    both = float_product(new, x, weights, (x_scale, scale), (x_zero, zero), bias)[0]
    return None if both is None else [_attended(new, node, x, both, weights, mask)]


def _is_known(
    new: Replacement, node: ir.Node, weights: ir.Value | None, mask: ir.Value | None,
    rest: Sequence[ir.Value | None],
) -> bool:  # fmt: skip
    """Whether the attention has the form that _attended writes."""
    heads = get_int(node, "num_heads", 0)
    width = None if weights is None or weights.shape is None else weights.shape[1]
    rank = 2 if mask is None else 0 if mask.shape is None else len(mask.shape)
    return (
        all(value is None for value in rest) and len(node.outputs) == 1
        and isinstance(width, int) and heads >= 1 and width % (3 * heads) == 0
        and rank in (1, 2) and not get_ints(node, "qkv_hidden_sizes", [])
        and not get_int(node, "do_rotary", 0)
        and (new.opset >= 11 or (rank == 2 and not get_int(node, "unidirectional", 0)))
    )  # fmt: skip


def _attended(
    new: Replacement, node: ir.Node, x: ir.Value | None, both: ir.Value,
    weights: ir.Value | None, mask: ir.Value | None,
) -> ir.Value:  # fmt: skip
    """Heads of queries, keys and values side by side in `both` -> (batch, positions, hidden)."""
    assert weights is not None
    assert weights.shape is not None
    heads, width = get_int(node, "num_heads", 0), weights.shape[1]
    assert isinstance(width, int)
    hidden, depth = width // 3, width // 3 // heads
    shape = new.constant("heads", [0, 0, 3 * heads, depth])
    moved = new.one("Transpose", new.one("Reshape", both, shape), perm=[0, 2, 1, 3])
    query, key, value = _thirds(new, moved, heads)
    scores = new.one("MatMul", query, new.one("Transpose", key, perm=[0, 1, 3, 2]))
    scale = get_float(node, "scale", 0.0) or 1 / math.sqrt(depth)
    scores = new.one("Mul", scores, number(new, scale))
    low = get_float(node, "mask_filter_value", -1e4)
    if mask is not None:
        scores = new.one("Add", scores, _mask(new, mask, x, low))
    if get_int(node, "unidirectional", 0):
        places = _positions(new, x)
        ahead = new.one("Sub", _unsqueezed(new, places, 0), _unsqueezed(new, places, 1))
        scores = new.one("Add", scores, new.one("Mul", _zero_to_one(new, ahead), number(new, low)))
    seen = new.one("MatMul", new.one("Softmax", scores, axis=-1 if new.opset >= 13 else 3), value)
    flat = new.constant("flat", [0, 0, hidden])
    return new.one("Reshape", new.one("Transpose", seen, perm=[0, 2, 1, 3]), flat)


def _thirds(new: Replacement, x: ir.Value, heads: int) -> list[ir.Value]:
    """Equal parts of axis 1."""
    if new.opset < 13:
        return new.add("Split", [x], None, 3, axis=1, split=[heads] * 3)
    return new.add("Split", [x, new.constant("parts", [heads] * 3)], None, 3, axis=1)


def _mask(new: Replacement, mask: ir.Value, x: ir.Value | None, low: float) -> ir.Value:
    """0 for positions that count, low for others; added to scores of rank 4.

    mask  (batch, positions) of ones and zeros, or (batch,) how many positions count
    """
    real = new.one("Cast", mask, to=_FLOAT)
    if mask.shape is not None and len(mask.shape) == 1:
        places = _unsqueezed(new, _positions(new, x), 0)
        real = _zero_to_one(new, new.one("Sub", _unsqueezed(new, real, 1), places))
    hidden = new.one("Mul", new.one("Sub", number(new, 1.0), real), number(new, low))
    return _unsqueezed(new, hidden, 1, 2)


def _positions(new: Replacement, x: ir.Value | None) -> ir.Value:
    """0, 1, 2, ... as floats, as many as axis 1 is long."""
    length = new.one("Gather", new.one("Shape", x), new.constant("axis", np.int64(1)), axis=0)
    ends = (new.constant(name, np.int64(value)) for name, value in (("start", 0), ("step", 1)))
    start, step = ends
    return new.one("Cast", new.one("Range", start, length, step), to=_FLOAT)


def _zero_to_one(new: Replacement, x: ir.Value) -> ir.Value:
    """Whole numbers: 1 for those above 0, else 0."""
    return new.one("Clip", x, number(new, 0.0), number(new, 1.0))


def _unsqueezed(new: Replacement, x: ir.Value, *axes: int) -> ir.Value:
    if new.opset < 13:
        return new.one("Unsqueeze", x, axes=list(axes))
    return new.one("Unsqueeze", x, new.constant("axes", list(axes)))


def _embedding(new: Replacement, node: ir.Node) -> Coded | None:
    """The sum of three embeddings, normalized; how many positions the mask has."""
    words, segments, *tables = padded_inputs(node, 9)
    gamma, beta, mask, places = tables[3:7]
    parts = [None if table is None else [table] for table in tables[:3]]
    return _embedded(new, node, (words, segments, mask, places), parts, [gamma], [beta])


def _coded_embedding(new: Replacement, node: ir.Node) -> Coded | None:
    """As EmbedLayerNormalization; all five constants are codes with a scale and a zero point."""
    inputs = padded_inputs(node, 18)
    coded = [[inputs[2 + n], inputs[8 + n], inputs[13 + n]] for n in range(5)]
    parts = [None if part[0] is None else part for part in coded[:3]]
    return _embedded(new, node, (*inputs[:2], inputs[7], None), parts, coded[3], coded[4])


def _embedded(
    new: Replacement, node: ir.Node, numbers: Sequence[ir.Value | None],
    tables: Sequence[Coded | None], gamma: Coded, beta: Coded,
) -> Coded | None:  # fmt: skip
    """numbers: words, segments, mask, positions; tables: words, positions, segments."""
    words, segments, mask, places = numbers
    if words is None or new.opset < 11 or (segments is None) != (tables[2] is None):
        return None
    if places is None:
        places = new.one("Cast", _positions(new, words), to=_INT32)
    total: ir.Value | None = None
    for index, table in zip((words, places, segments), tables, strict=True):
        if table is not None:
            row = _real(new, [new.one("Gather", table[0], index, axis=0), *table[1:]])
            total = row if total is None else new.one("Add", total, row)
    if total is None:
        return None
    epsilon = get_float(node, "epsilon", 1e-12)
    result = layer_norm(new, total, _real(new, gamma), _real(new, beta), epsilon)
    counts: ir.Value | None = None
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        counts = _counts(new, words if mask is None else mask, is_mask=mask is not None)
    return [result, counts, total]


def _real(new: Replacement, coded: Coded) -> ir.Value:
    """What codes with a scale and a zero point stand for; a float value as it is."""
    value = coded[0]
    assert value is not None
    return value if len(coded) == 1 else new.real(coded)


def _counts(new: Replacement, x: ir.Value, *, is_mask: bool) -> ir.Value:
    """(batch,) int32: the sum of the mask along the positions, 0 without a mask."""
    ones = x if is_mask else new.one("Sub", x, x)
    if new.opset < 13:
        return new.one("ReduceSum", ones, axes=[1], keepdims=0)
    return new.one("ReduceSum", ones, new.constant("axes", [1]), keepdims=0)


REPLACE: dict[str, Replace] = {
    "Attention": _attention,
    "EmbedLayerNormalization": _embedding,
    "QAttention": _coded_attention,
    "QEmbedLayerNormalization": _coded_embedding,
}
