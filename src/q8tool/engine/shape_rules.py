"""Types and shapes of results by the rules of the standard, for the operators that models are of.

onnx infers the same, but loading it takes longer than compiling most models. So these rules come
first; where one returns None - an operator without a rule, a parameter that is left out or not
constant, inputs that do not fit together - onnx is asked (onnx_inference.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from q8tool.engine.graph import Node

if TYPE_CHECKING:
    from q8tool.engine.facts import Fact

__all__ = ["types_by_rule"]

Shape = tuple[int, ...]
Typed = tuple[np.dtype[Any], Shape]
Inputs = Sequence["Fact | None"]

# TensorProto.DataType
_CAST_TYPES = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8",
    12: "u4", 13: "u8",
}  # fmt: skip


class _UnknownError(Exception):
    """The rule does not apply."""


def types_by_rule(node: Node, facts: "Mapping[str, Fact]") -> list[Typed] | None:
    """Type and shape of every output, None where no rule says them all."""
    rule = None if node.domain else _RULES.get(node.op_type)
    if rule is None:
        return None
    inputs = [facts[name] if name else None for name in node.inputs]
    try:
        found = rule(node, inputs)
    except (_UnknownError, LookupError, ValueError):
        return None
    return found if len(found) == len(node.outputs) and all(node.outputs) else None


def _require(is_known: bool) -> None:
    if not is_known:
        raise _UnknownError


def _typed(inputs: Inputs, position: int) -> Typed:
    fact = inputs[position]
    if fact is None or fact.dtype is None or fact.shape is None:
        raise _UnknownError
    return fact.dtype, fact.shape


def _optional(inputs: Inputs, position: int) -> "Fact | None":
    return inputs[position] if position < len(inputs) else None


def _numbers(inputs: Inputs, position: int) -> list[Any]:
    """The values of an input that is a small constant of one dimension."""
    fact = inputs[position]
    if fact is None or not fact.is_small or fact.shape is None or len(fact.shape) != 1:
        raise _UnknownError
    return list(fact.array().tolist())


def _integers(inputs: Inputs, position: int) -> list[int]:
    """The same of an input that says sizes, axes or places."""
    fact = inputs[position]
    _require(fact is not None and fact.dtype is not None and fact.dtype.kind in "iu")
    return _numbers(inputs, position)


def _axis(axis: int, rank: int) -> int:
    _require(-rank <= axis < rank)
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> set[int]:
    found = {_axis(axis, rank) for axis in axes}
    _require(len(found) == len(axes))
    return found


# ---- elementwise ----


def _like_first(node: Node, inputs: Inputs) -> list[Typed]:
    return [_typed(inputs, 0)]


def _broadcast(node: Node, inputs: Inputs) -> list[Typed]:
    types = [_typed(inputs, position) for position in range(len(inputs))]
    _require(node.version >= 8 and len({dtype for dtype, _ in types}) == 1)
    return [(types[0][0], np.broadcast_shapes(*(shape for _, shape in types)))]


def _power(node: Node, inputs: Inputs) -> list[Typed]:
    (dtype, base), (_, exponent) = _typed(inputs, 0), _typed(inputs, 1)
    _require(node.version >= 8)
    return [(dtype, np.broadcast_shapes(base, exponent))]


def _compared(node: Node, inputs: Inputs) -> list[Typed]:
    ((_, shape),) = _broadcast(node, inputs)
    return [(np.dtype(np.bool_), shape)]


def _where(node: Node, inputs: Inputs) -> list[Typed]:
    ((dtype, shape),) = _broadcast(node, inputs[1:])
    return [(dtype, np.broadcast_shapes(shape, _typed(inputs, 0)[1]))]


def _cast(node: Node, inputs: Inputs) -> list[Typed]:
    _require(node.attributes.get("to") in _CAST_TYPES)
    return [(np.dtype(_CAST_TYPES[node.attributes["to"]]), _typed(inputs, 0)[1])]


def _dynamic_quantize(node: Node, inputs: Inputs) -> list[Typed]:
    byte = np.dtype(np.uint8)
    return [(byte, _typed(inputs, 0)[1]), (np.dtype(np.float32), ()), (byte, ())]


# ---- products ----


def _product(node: Node, inputs: Inputs) -> list[Typed]:
    (dtype, a), (other, b) = _typed(inputs, 0), _typed(inputs, 1)
    _require(dtype == other)
    return [(dtype, _product_shape(a, b))]


def _integer_product(node: Node, inputs: Inputs) -> list[Typed]:
    return [(np.dtype(np.int32), _product_shape(_typed(inputs, 0)[1], _typed(inputs, 1)[1]))]


def _coded_product(node: Node, inputs: Inputs) -> list[Typed]:
    shape = _product_shape(_typed(inputs, 0)[1], _typed(inputs, 3)[1])
    return [(_typed(inputs, 7)[0], shape)]


def _product_shape(a: Shape, b: Shape) -> Shape:
    _require(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2])
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _gemm(node: Node, inputs: Inputs) -> list[Typed]:
    (dtype, a), (other, b) = _typed(inputs, 0), _typed(inputs, 1)
    _require(dtype == other and len(a) == len(b) == 2)
    a = a[::-1] if node.attributes.get("transA", 0) else a
    b = b[::-1] if node.attributes.get("transB", 0) else b
    shape = (a[0], b[1])
    _require(a[1] == b[0])
    if _optional(inputs, 2) is not None:
        _require(np.broadcast_shapes(_typed(inputs, 2)[1], shape) == shape)
    return [(dtype, shape)]


# ---- windows ----


def _conv(node: Node, inputs: Inputs) -> list[Typed]:
    (dtype, x), (other, w) = _typed(inputs, 0), _typed(inputs, 1)
    _require(dtype == other)
    return [(dtype, _conv_shape(node, x, w))]


def _integer_conv(node: Node, inputs: Inputs) -> list[Typed]:
    shape = _conv_shape(node, _typed(inputs, 0)[1], _typed(inputs, 1)[1])
    return [(np.dtype(np.int32), shape)]


def _coded_conv(node: Node, inputs: Inputs) -> list[Typed]:
    shape = _conv_shape(node, _typed(inputs, 0)[1], _typed(inputs, 3)[1])
    return [(_typed(inputs, 7)[0], shape)]


def _conv_shape(node: Node, x: Shape, w: Shape) -> Shape:
    kernel, groups = w[2:], node.attributes.get("group", 1)
    _require(len(x) == len(w) >= 3 and x[1] == w[1] * groups and w[0] % groups == 0)
    _require(tuple(node.attributes.get("kernel_shape", kernel)) == kernel)
    return (x[0], w[0], *_window_counts(node, x[2:], kernel))


def _pool(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    kernel = tuple(node.attributes["kernel_shape"])
    _require(not node.attributes.get("ceil_mode", 0) and len(shape) >= 3)
    return [(dtype, (*shape[:2], *_window_counts(node, shape[2:], kernel)))]


def _window_counts(node: Node, sizes: Shape, kernel: Shape) -> Shape:
    """How many windows lie side by side in each dimension."""
    spatial = len(sizes)
    strides = tuple(node.attributes.get("strides", (1,) * spatial))
    dilations = tuple(node.attributes.get("dilations", (1,) * spatial))
    pads = tuple(node.attributes.get("pads", (0,) * 2 * spatial))
    auto_pad = node.attributes.get("auto_pad", "NOTSET")
    lengths = (len(kernel), len(strides), len(dilations), len(pads) / 2)
    _require(set(lengths) == {spatial} and min(*kernel, *strides, *dilations) > 0)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(-(-size // step) for size, step in zip(sizes, strides, strict=True))
    if auto_pad == "VALID":
        pads = (0,) * 2 * spatial
    _require(auto_pad in ("NOTSET", "VALID") and min(pads) >= 0)
    counts = []
    for axis, size in enumerate(sizes):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        room = size + pads[axis] + pads[axis + spatial] - reach
        _require(room >= 0)
        counts.append(room // strides[axis] + 1)
    return tuple(counts)


def _global_pool(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    _require(len(shape) >= 3)
    return [(dtype, (*shape[:2], *(1 for _ in shape[2:])))]


# ---- movement ----


def _concat(node: Node, inputs: Inputs) -> list[Typed]:
    types = [_typed(inputs, position) for position in range(len(inputs))]
    dtype, first = types[0]
    axis = _axis(node.attributes["axis"], len(first))
    others = {(t, s[:axis], s[axis + 1 :]) for t, s in types}
    _require(len(others) == 1)
    return [(dtype, (*first[:axis], sum(s[axis] for _, s in types), *first[axis + 1 :]))]


def _flatten(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    axis = node.attributes.get("axis", 1)
    _require(-len(shape) <= axis <= len(shape))
    axis += len(shape) * (axis < 0)
    return [(dtype, (math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _reshape(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    wanted = _integers(inputs, 1)
    _require(not node.attributes.get("allowzero", 0) and wanted.count(-1) <= 1)
    dims = [shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    known = math.prod(dim for dim in dims if dim != -1)
    _require(min(dims, default=0) >= -1 and known > 0)
    dims = [math.prod(shape) // known if dim == -1 else dim for dim in dims]
    _require(math.prod(dims) == math.prod(shape))
    return [(dtype, tuple(dims))]


def _transpose(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    order = node.attributes.get("perm", range(len(shape))[::-1])
    _require(sorted(order) == list(range(len(shape))))
    return [(dtype, tuple(shape[axis] for axis in order))]


def _squeeze(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    axes = _axes(_given_axes(node, inputs), len(shape))
    _require(bool(axes) and all(shape[axis] == 1 for axis in axes))
    return [(dtype, tuple(dim for axis, dim in enumerate(shape) if axis not in axes))]


def _unsqueeze(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    given = _given_axes(node, inputs)
    axes = _axes(given, len(shape) + len(given))
    left = iter(shape)
    rank = len(shape) + len(axes)
    return [(dtype, tuple(1 if axis in axes else next(left) for axis in range(rank)))]


def _given_axes(node: Node, inputs: Inputs) -> list[int]:
    """The attribute, or the second input of newer versions; empty if there is neither."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    return _integers(inputs, 1) if _optional(inputs, 1) is not None else []


def _split(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    count, size = len(node.outputs), shape[axis]
    if "split" in node.attributes:
        sizes = list(node.attributes["split"])
    elif _optional(inputs, 1) is not None:
        sizes = _integers(inputs, 1)
    else:
        _require(size % count == 0 and node.attributes.get("num_outputs", count) == count)
        sizes = [size // count] * count
    _require(sum(sizes) == size and min(sizes) >= 0)
    return [(dtype, (*shape[:axis], part, *shape[axis + 1 :])) for part in sizes]


def _slice(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    starts, ends = _integers(inputs, 1), _integers(inputs, 2)
    axes = list(range(len(starts)))
    if _optional(inputs, 3) is not None:
        axes = [_axis(axis, len(shape)) for axis in _integers(inputs, 3)]
    steps = [1] * len(starts)
    if _optional(inputs, 4) is not None:
        steps = _integers(inputs, 4)
    _require(node.version >= 10 and len(set(axes)) == len(axes))
    dims = list(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dims[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return [(dtype, tuple(dims))]


def _gather(node: Node, inputs: Inputs) -> list[Typed]:
    (dtype, shape), (_, indices) = _typed(inputs, 0), _typed(inputs, 1)
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    return [(dtype, (*shape[:axis], *indices, *shape[axis + 1 :]))]


def _expand(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    return [(dtype, np.broadcast_shapes(shape, tuple(_integers(inputs, 1))))]


def _pad(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    _require(_optional(inputs, 3) is None)
    pads = node.attributes["pads"] if "pads" in node.attributes else _integers(inputs, 1)
    _require(len(pads) == 2 * len(shape))
    sides = zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True)
    dims = tuple(size + before + after for size, before, after in sides)
    _require(min(dims, default=0) >= 0)
    return [(dtype, dims)]


def _resize(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    _require(node.version >= 11 and not {"axes", "keep_aspect_ratio_policy"} & set(node.attributes))
    if _optional(inputs, 3) is not None:
        sizes = _integers(inputs, 3)
    else:
        scales = np.asarray(_numbers(inputs, 2), np.float32)
        sizes = np.floor(np.asarray(shape, np.float32) * scales).astype(np.int64).tolist()
    _require(len(sizes) == len(shape) and min(sizes) > 0)
    return [(dtype, tuple(sizes))]


# ---- reductions ----


def _reduced(node: Node, inputs: Inputs) -> list[Typed]:
    dtype, shape = _typed(inputs, 0)
    axes = _axes(_given_axes(node, inputs), len(shape))
    _require(bool(axes) or not node.attributes.get("noop_with_empty_axes", 0))
    return [(dtype, _without(node, shape, axes or set(range(len(shape)))))]


def _position(node: Node, inputs: Inputs) -> list[Typed]:
    _, shape = _typed(inputs, 0)
    axes = {_axis(node.attributes.get("axis", 0), len(shape))}
    return [(np.dtype(np.int64), _without(node, shape, axes))]


def _without(node: Node, shape: Shape, axes: set[int]) -> Shape:
    if node.attributes.get("keepdims", 1):
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


_RULES: dict[str, Callable[[Node, Inputs], list[Typed]]] = {
    **dict.fromkeys(
        ("BatchNormalization", "Dropout", "Identity", "InstanceNormalization", "LRN",
         "LayerNormalization"), _like_first,
    ),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean"), _broadcast),
    **dict.fromkeys(
        ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _compared
    ),
    "Pow": _power,
    "Where": _where,
    "Cast": _cast,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMul": _product,
    "MatMulInteger": _integer_product,
    "QLinearMatMul": _coded_product,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _integer_conv,
    "QLinearConv": _coded_conv,
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    "Concat": _concat,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Pad": _pad,
    "Resize": _resize,
    **dict.fromkeys(
        ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"), _reduced
    ),
    "ArgMax": _position,
}  # fmt: skip
