"""Operators that the standard composes of others, in the words of those: Attention and the like.

    y = Attention(q, k, v, mask)  ->  y = MatMul(Softmax(MatMul(q, k^T) * scale + mask), v)

Exporters write them from opset 23 on. What they are made of runs in C, and in eight bits. Those
that work in other types than float32, or ask for more than is written here, stay as they are.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import Names, all_nodes, get_float, get_int
from q8tool.model.shapes import infer_shapes

__all__ = ["COMPOSED", "has_composed_operators", "write_out"]

# Of slices: beyond every dimension.
_END = np.iinfo(np.int64).max
# One table names the head of keys that each head of queries reads.
_MOST_HEADS = 1 << 16
_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL})


def has_composed_operators(model: ir.Model) -> bool:
    """Whether write_out finds something."""
    return any(_is_composed(n) for n in all_nodes(model.graph))


def write_out(model: ir.Model, op_types: Collection[str] | None = None) -> list[Change]:
    """Replace composed operators in place, subgraphs included.

    op_types  of which operators; None: all of COMPOSED
    """
    wanted = COMPOSED.keys() if op_types is None else op_types
    nodes = all_nodes(model.graph)
    found = [node for node in nodes if _is_composed(node) and node.op_type in wanted]
    if any(v is not None and v.shape is None for node in found for v in node.inputs):
        infer_shapes(model)
    names, changes = Names(model.graph), []
    for node in found:
        if not isinstance(node.graph, ir.Graph) or not _is_known(node):
            continue
        new = Replacement(node.graph, node, names, model.opset_imports.get("", 0))
        results = COMPOSED[node.op_type](new, node)
        if results is not None:
            label = node.name or node.op_type
            new.finish(results)
            changes.append(Change("write_out", label, f"was {node.op_type}"))
    return changes


def _is_composed(node: ir.Node) -> bool:
    return not node.domain and node.op_type in COMPOSED


def _is_known(node: ir.Node) -> bool:
    """True if what goes in is float32, but for masks and places, and of known rank."""
    values = [value for value in node.inputs if value is not None]
    is_float = bool(values) and values[0].dtype == ir.DataType.FLOAT
    return is_float and all(v.dtype in _TYPES and v.shape is not None for v in values)


def _rank(value: ir.Value) -> int:
    return 0 if value.shape is None else len(value.shape)


def _size(value: ir.Value, axis: int) -> int | None:
    """A dimension, None if it is not known."""
    size = None if value.shape is None else value.shape[axis]
    return size if isinstance(size, int) else None


def _number(new: Replacement, value: float) -> ir.Value:
    return new.constant("number", np.float32(value))


def _sizes(new: Replacement, *values: int) -> ir.Value:
    return new.constant("sizes", np.asarray(values, np.int64))


# ---- Attention ----


def _attention(new: Replacement, node: ir.Node) -> Coded | None:
    """Two products with a softmax between them, of heads that lie apart or side by side."""
    q, k, v, mask, past_key, past_value, lengths = padded_inputs(node, 7)
    if q is None or k is None or v is None or lengths is not None or not _is_usual(node):
        return None
    heads = _heads(node, q, k)
    if heads is None or not _rank(q) == _rank(k) == _rank(v):
        return None
    if any(past is not None and _rank(past) != 4 for past in (past_key, past_value)):
        return None
    scale = _scale(node, q, heads[0])
    if scale is None or (mask is not None and not _reaches(mask, k, past_key)):
        return None
    query = _apart(new, q, heads[0])
    key, value = _apart(new, k, heads[1]), _apart(new, v, heads[1])
    if past_key is not None and past_value is not None:
        key = new.one("Concat", past_key, key, axis=2)
        value = new.one("Concat", past_value, value, axis=2)
    scores = _scores(new, node, query, _repeated(new, key, heads), scale)
    bias = None if mask is None else _bias(new, mask)
    if get_int(node, "is_causal", 0):
        ahead = _ahead(new, query, key, past_key)
        bias = ahead if bias is None else new.one("Add", bias, ahead)
    seen = new.one("Softmax", scores if bias is None else new.one("Add", scores, bias), axis=-1)
    if mask is not None:  # rows that see nothing are NaN here, and 0 by the standard
        seen = new.one("Where", new.one("IsNaN", seen), _number(new, 0.0), seen)
    y = new.one("MatMul", seen, _repeated(new, value, heads))
    if _rank(q) == 3:
        y = new.one("Reshape", new.one("Transpose", y, perm=[0, 2, 1, 3]), _sizes(new, 0, 0, -1))
    return [y, *(_present(new, node, place, x) for place, x in ((1, key), (2, value)))]


def _is_usual(node: ir.Node) -> bool:
    """True without windows, a softmax of another type, and products of queries and keys."""
    windows = (get_int(node, f"{side}_window_size", -1) for side in ("left", "right"))
    precision = get_int(node, "softmax_precision", int(ir.DataType.FLOAT))
    return (
        all(size == -1 for size in windows)
        and precision == ir.DataType.FLOAT
        and not _is_read(node, 3)
        and len(node.inputs) > 2
        and (len(node.inputs) < 6 or (node.inputs[4] is None) == (node.inputs[5] is None))
    )


def _is_read(node: ir.Node, place: int) -> bool:
    if place >= len(node.outputs):
        return False
    value = node.outputs[place]
    return bool(value.uses()) or value.is_graph_output()


def _present(new: Replacement, node: ir.Node, place: int, x: ir.Value) -> ir.Value | None:
    """Keys or values as the node delivers them, if somebody reads them."""
    return new.one("Identity", x) if _is_read(node, place) else None


def _heads(node: ir.Node, q: ir.Value, k: ir.Value) -> tuple[int, int] | None:
    """How many heads queries have, and keys and values."""
    queries: int | None
    keys: int | None
    if _rank(q) == 3:
        queries, keys = get_int(node, "q_num_heads", 0), get_int(node, "kv_num_heads", 0)
    elif _rank(q) == _rank(k) == 4:
        queries, keys = _size(q, 1), _size(k, 1)
    else:
        return None
    if queries is None or keys is None or not 0 < keys <= queries <= _MOST_HEADS or queries % keys:
        return None
    return queries, keys


def _scale(node: ir.Node, q: ir.Value, heads: int) -> float | None:
    """What scores are multiplied with; None if it follows from a size that is not known."""
    if "scale" in node.attributes:
        return get_float(node, "scale", 1.0)
    width = _size(q, -1)
    depth = width if width is None or _rank(q) == 4 else width // heads
    return 1 / math.sqrt(depth) if depth and depth > 0 else None


def _reaches(mask: ir.Value, k: ir.Value, past_key: ir.Value | None) -> bool:
    """True if the mask is of floats or truth values, and has all columns as far as is known."""
    if mask.dtype == ir.DataType.INT64 or _rank(mask) < 1:
        return False
    now = _size(k, 2 if _rank(k) == 4 else 1)
    before = 0 if past_key is None else _size(past_key, 2)
    wanted = None if now is None or before is None else now + before
    return None in (wanted, _size(mask, -1)) or _size(mask, -1) == wanted


def _apart(new: Replacement, x: ir.Value, heads: int) -> ir.Value:
    """(batch, rows, heads * depth) -> (batch, heads, rows, depth)."""
    if _rank(x) == 4:
        return x
    rows = new.one("Reshape", x, _sizes(new, 0, 0, heads, -1))
    return new.one("Transpose", rows, perm=[0, 2, 1, 3])


def _repeated(new: Replacement, x: ir.Value, heads: tuple[int, int]) -> ir.Value:
    """Keys or values of few heads, each as often as queries share it."""
    if heads[0] == heads[1]:
        return x
    places = np.repeat(np.arange(heads[1]), heads[0] // heads[1])
    return new.one("Gather", x, new.constant("heads", places), axis=1)


def _scores(
    new: Replacement, node: ir.Node, query: ir.Value, key: ir.Value, scale: float
) -> ir.Value:
    """Products of queries and keys, scaled, and bent where there is a cap."""
    scores = new.one("MatMul", query, new.one("Transpose", key, perm=[0, 1, 3, 2]))
    cap = get_float(node, "softcap", 0.0)
    factor = scale / cap if cap else scale
    if factor != 1:
        scores = new.one("Mul", scores, _number(new, factor))
    return new.one("Mul", new.one("Tanh", scores), _number(new, cap)) if cap else scores


def _bias(new: Replacement, mask: ir.Value) -> ir.Value:
    """What is added to scores: a mask of truth values hides where it is false."""
    if mask.dtype != ir.DataType.BOOL:
        return mask
    return new.one("Where", mask, _number(new, 0.0), _number(new, -math.inf))


def _ahead(new: Replacement, query: ir.Value, key: ir.Value, past_key: ir.Value | None) -> ir.Value:
    """(rows, columns): -inf for the columns behind a row's own, which is as far as the past is."""
    rows = _positions(new, query)
    if past_key is not None:
        rows = new.one("Add", rows, _length(new, past_key))
    rows = new.one("Unsqueeze", rows, _sizes(new, 1))
    is_ahead = new.one("Less", rows, _positions(new, key))
    return new.one("Where", is_ahead, _number(new, -math.inf), _number(new, 0.0))


def _length(new: Replacement, x: ir.Value) -> ir.Value:
    """How many rows (axis 2) there are."""
    index = new.constant("axis", np.asarray(2, np.int64))
    return new.one("Gather", new.one("Shape", x), index, axis=0)


def _positions(new: Replacement, x: ir.Value) -> ir.Value:
    """0, 1, 2, ... as many as there are rows."""
    start, step = (new.constant(name, np.int64(n)) for name, n in (("start", 0), ("step", 1)))
    return new.one("Range", start, _length(new, x), step)


# ---- RotaryEmbedding ----


def _rotary_embedding(new: Replacement, node: ir.Node) -> Coded | None:
    """Pairs of numbers, turned by an angle that grows with the position.

    real = x1 * cos - x2 * sin, imag = x1 * sin + x2 * cos; what is beyond stays.
    """
    x, cosines, sines, places = padded_inputs(node, 4)
    heads = get_int(node, "num_heads", 0)
    if x is None or cosines is None or sines is None or _rank(x) not in (3, 4):
        return None
    is_flat = _rank(x) == 3
    if is_flat and heads < 1:
        return None
    width = _size(x, -1)
    depth = width if width is None or not is_flat else width // heads
    turned = get_int(node, "rotary_embedding_dim", 0) or depth
    if depth is None or turned is None or turned % 2 or not 0 < turned <= depth:
        return None
    angles = [
        new.one("Unsqueeze", c if places is None else new.one("Gather", c, places, axis=0),
                _sizes(new, 2 if is_flat else 1))
        for c in (cosines, sines)
    ]  # fmt: skip
    rows = new.one("Reshape", x, _sizes(new, 0, 0, heads, -1)) if is_flat else x
    result = _turned(new, rows, angles, turned, bool(get_int(node, "interleaved", 0)))
    if turned < depth:
        result = new.one("Concat", result, _cut(new, rows, turned, _END), axis=3)
    return [new.one("Reshape", result, _sizes(new, 0, 0, -1)) if is_flat else result]


def _turned(
    new: Replacement, x: ir.Value, angles: Sequence[ir.Value], count: int, interleaved: bool
) -> ir.Value:
    """The first `count` numbers of each row; cosine and sine as they broadcast to halves of x."""
    if interleaved:
        first, second = (_cut(new, x, start, count, 2) for start in (0, 1))
    else:
        first, second = _cut(new, x, 0, count // 2), _cut(new, x, count // 2, count)
    cosine, sine = angles
    real = new.one("Sub", new.one("Mul", first, cosine), new.one("Mul", second, sine))
    imaginary = new.one("Add", new.one("Mul", first, sine), new.one("Mul", second, cosine))
    if not interleaved:
        return new.one("Concat", real, imaginary, axis=3)
    pairs = [new.one("Unsqueeze", part, _sizes(new, 4)) for part in (real, imaginary)]
    return new.one("Reshape", new.one("Concat", *pairs, axis=4), _sizes(new, 0, 0, 0, -1))


def _cut(new: Replacement, x: ir.Value, start: int, end: int, step: int = 1) -> ir.Value:
    """A part of the last of four axes."""
    ends = [_sizes(new, number) for number in (start, end, 3, step)]
    return new.one("Slice", x, *ends)


# ---- RMSNormalization ----


def _rms_normalization(new: Replacement, node: ir.Node) -> Coded | None:
    """x / sqrt(mean of its squares + epsilon) * scale, over the axes from `axis` on."""
    x, scale = padded_inputs(node, 2)
    if x is None or scale is None or not _rank(x):
        return None
    axis = get_int(node, "axis", -1) % _rank(x)
    axes = _sizes(new, *range(axis, _rank(x)))
    mean = new.one("ReduceMean", new.one("Mul", x, x), axes)
    spread = new.one("Sqrt", new.one("Add", mean, _number(new, get_float(node, "epsilon", 1e-5))))
    return [new.one("Mul", new.one("Div", x, spread), scale)]


COMPOSED: dict[str, Replace] = {
    "Attention": _attention,
    "RMSNormalization": _rms_normalization,
    "RotaryEmbedding": _rotary_embedding,
}
"""How each is written out; None where a node asks for more."""
