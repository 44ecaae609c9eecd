"""Attention as one step: two products of run-time tensors with a softmax between them.

    MatMul(q, k^T) -> [Mul | Div by a number] -> [Add a mask] -> Softmax -> [0 where it is NaN]
        -> [Quantize -> Dequantize] -> MatMul(., v) -> [Quantize] -> [Transpose, Reshape]

The pattern is found at the first product; the step is emitted in place of the second, when v is
there as well. q, k and v are read where they lie (views.py), y is written where it is wanted. All
of q, k, v and the softmax are codes, or none of them is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from q8tool.engine.epilogue import find_epilogue
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, scalar
from q8tool.engine.tensors import Layout, Tensor, contiguous_strides
from q8tool.engine.values import CodeParams, Declined, Value
from q8tool.engine.views import View, moved_result, views

__all__ = ["begins_attention"]

Box = tuple[int, int, int, int]
# So many products of two differences of codes fit an int32.
_MOST_SUMMED = 33025


@dataclass(eq=False)
class _Attention:
    """What was found.

    nodes    all but the second product;  last: that one
    scale    of the scores;  mask: added to them, or None
    softmax  parameters of its codes; None: it stays float
    zero_hidden  rows whose mask hides everything, NaN behind the softmax, are made 0
    """

    nodes: list[Node]
    last: Node
    q: Value
    k: Value
    v: Value
    scale: float = 1.0
    mask: Value | None = None
    softmax: CodeParams | None = None
    zero_hidden: bool = False


def begins_attention(lowering: Lowering, node: Node) -> bool:
    """True if the MatMul is the first product of an attention, which is then taken care of."""
    try:
        found = _find(lowering, node)
    except Declined:
        return False
    if found is None or lowering.is_refused(found.last):
        return False
    lowering.absorb(found.nodes)
    lowering.lower_instead(found.last, partial(_lower, found))
    return True


# ---- finding ----


def _find(lowering: Lowering, node: Node) -> _Attention | None:
    q, k = lowering.input(node, 0), lowering.input(node, 1)
    if q.rank not in (3, 4) or k.rank != q.rank or q.shape[:-2] != k.shape[:-2]:
        return None
    found = _Attention([node], node, q, k, q)
    found.q, found.k = (_without_factors(lowering, found, value) for value in (q, k))
    name = _through_scores(lowering, found, node.outputs[0])
    if name is None or not _reaches_second(lowering, found, name):
        return None
    v = found.v
    if v.rank != q.rank or v.shape[:-2] != q.shape[:-2] or v.shape[-2] != k.shape[-1]:
        return None
    return found if _is_uniform(lowering, found) else None


def _without_factors(lowering: Lowering, found: _Attention, value: Value) -> Value:
    """What a side of the first product was before its Mul and Div by numbers, now the scores'."""
    while (node := lowering.producers.get(value.name)) is not None and not node.domain:
        factor = _factor(lowering, node)
        if factor is None:
            break
        place, number = factor
        source = lowering.value(node.inputs[place])
        if source.fact.shape != value.shape or not source.is_float:
            break
        found.scale *= number
        value = source
    return value


def _factor(lowering: Lowering, node: Node) -> tuple[int, float] | None:
    """Of a Mul or Div by a number: which input is the other, and the factor; else None."""
    if node.op_type not in ("Mul", "Div") or node.domain:
        return None
    numbers = [scalar(lowering.value(name)) for name in node.inputs]
    if node.op_type == "Div":
        return (0, 1 / float(numbers[1])) if numbers[1] and numbers[0] is None else None
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    return (1, float(numbers[0])) if numbers[1] is None else (0, float(numbers[1]))


def _through_scores(lowering: Lowering, found: _Attention, name: str) -> str | None:
    """Follows factors and a mask to the softmax; the name of its result."""
    while (node := lowering.sole_consumer(name)) is not None and not node.domain:
        found.nodes.append(node)
        if node.op_type == "Softmax":
            rank = found.q.rank
            axis = int(node.attributes.get("axis", -1 if node.version >= 13 else 1)) % rank
            return node.outputs[0] if axis == rank - 1 else None
        factor = _factor(lowering, node)
        if found.mask is not None:
            return None
        if factor is not None and node.inputs[factor[0]] == name:
            found.scale *= factor[1]
        elif node.op_type == "Add" and node.inputs[0] != node.inputs[1]:
            other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
            found.mask = lowering.value(other)
            if not _is_mask(found):
                return None
        else:
            return None
        name = node.outputs[0]
    return None


def _is_mask(found: _Attention) -> bool:
    """Float rows as long as the scores', that broadcast to them."""
    mask, q, k = found.mask, found.q, found.k
    if mask is None or not mask.is_float or mask.fact.shape is None or mask.rank > q.rank:
        return False
    scores = (*q.shape[:-1], k.shape[-1])
    if mask.rank < 1 or mask.shape[-1] != scores[-1]:
        return False
    ends = zip(mask.shape[::-1], scores[::-1], strict=False)
    return all(size in (1, wanted) for size, wanted in ends)


def _reaches_second(lowering: Lowering, found: _Attention, name: str) -> bool:
    """Follows the softmax's result, rounded or not, into the second product."""
    name = _behind_guard(lowering, found, name)
    node = lowering.sole_consumer(name)
    if node is not None and node.op_type == "QuantizeLinear" and not node.domain:
        found.softmax = lowering.code_params(node)
        back = lowering.sole_consumer(node.outputs[0])
        if found.softmax is None or back is None or back.op_type != "DequantizeLinear":
            return False
        params = lowering.code_params(back)
        if params is None or not params.same_meaning(found.softmax):
            return False
        found.nodes += [node, back]
        name = back.outputs[0]
        node = lowering.sole_consumer(name)
    if node is None or node.op_type != "MatMul" or node.domain or node.input(0) != name:
        return False
    if node.inputs[1] == name:
        return False
    found.last, found.v = node, lowering.value(node.inputs[1])
    return True


def _behind_guard(lowering: Lowering, found: _Attention, name: str) -> str:
    """The result of Where(IsNaN(p), 0, p), if that is what reads the softmax p; else p's name."""
    readers = {node.op_type: node for node in lowering.consumers(name) if not node.domain}
    test, pick = readers.get("IsNaN"), readers.get("Where")
    if test is None or pick is None or len(lowering.consumers(name)) != 2 or name in lowering.kept:
        return name
    if pick.inputs[0] != test.outputs[0] or lowering.sole_consumer(test.outputs[0]) is not pick:
        return name
    if pick.inputs[2] != name or scalar(lowering.value(pick.inputs[1])) != 0:
        return name
    if lowering.output(pick).fact.shape != lowering.value(name).fact.shape:
        return name
    found.nodes += [test, pick]
    found.zero_hidden = True
    return pick.outputs[0]


def _is_uniform(lowering: Lowering, found: _Attention) -> bool:
    """True if q, k and v are codes where the softmax is, and not all are where it is not."""
    values = (found.q, found.k, found.v)
    if not all(value.is_float and 0 not in value.shape for value in values):
        return False
    are_codes = [_will_be_codes(lowering, value) for value in values]
    if found.softmax is None:
        return not all(are_codes)
    longest = max(found.q.shape[-1], found.k.shape[-1])
    return all(are_codes) and longest <= _MOST_SUMMED


def _will_be_codes(lowering: Lowering, value: Value) -> bool:
    """True if the value has a scale and a zero point, or gets them from its own node."""
    if value.codes is not None:
        return lowering.affine_codes(value) is not None
    node = lowering.producers.get(value.name)
    if node is None or node.op_type != "DequantizeLinear" or node.domain:
        return False
    return lowering.code_params(node) is not None


# ---- emitting ----


def _lower(found: _Attention, lowering: Lowering, node: Node) -> None:
    lowering.absorb(found.nodes)
    q, k, v = found.q, found.k, found.v
    has_codes = found.softmax is not None
    arguments: dict[str, Any] = {"scale": found.scale}
    name, ends = node.outputs[0], list[Node]()
    if has_codes:
        epilogue = find_epilogue(lowering, name, clamps=False)
        arguments = _numbers(lowering, found, epilogue.params)
        ends = epilogue.nodes
    if found.zero_hidden:
        arguments["zero_hidden"] = True
    places = {
        "q": _rows(lowering, q, has_codes, is_turned=False),
        "k": _rows(lowering, k, has_codes, is_turned=True),
        "v": _rows(lowering, v, has_codes, is_turned=False),
    }
    if found.mask is not None:
        places["mask"] = _mask(lowering, found)
    reads: dict[str, Tensor | None] = {key: tensor for key, (tensor, _) in places.items()}
    y, place = _result(lowering, name, ends)
    boxes = {**{key: box for key, (_, box) in places.items()}, "y": place}
    batches, heads = (1, q.shape[0]) if q.rank == 3 else q.shape[:2]
    sizes = (batches, heads, q.shape[-2], k.shape[-1], q.shape[-1], v.shape[-1])
    lowering.emit("attention", reads, {"y": y}, sizes=sizes, places=boxes, **arguments)


def _numbers(lowering: Lowering, found: _Attention, params: CodeParams | None) -> dict[str, Any]:
    """Scales and zero points of an attention of codes; params: of its result's codes."""
    q, k, v = (_grid(lowering, value) for value in (found.q, found.k, found.v))
    assert found.softmax is not None
    multiplier = np.float32(found.softmax.scale) * np.float32(v.scale)
    numbers: dict[str, Any] = {
        "scale": float(np.float32(q.scale) * np.float32(k.scale) * np.float32(found.scale)),
        "q_zero_point": q.zero_point,
        "k_zero_point": k.zero_point,
        "v_zero_point": v.zero_point,
        "p_scale": found.softmax.scale,
        "p_zero_point": found.softmax.zero_point,
        "multiplier": float(multiplier),
    }
    if params is not None:
        numbers["multiplier"] = float(multiplier / np.float32(params.scale))
        numbers["y_zero_point"] = params.zero_point
    return numbers


def _grid(lowering: Lowering, value: Value) -> CodeParams:
    codes = lowering.affine_codes(value)
    assert codes is not None
    return codes.grid


def _box(view: View) -> Box:
    """Offset and the strides of batch, head and row of a view of rank 3 or 4."""
    batch, head, row = (0, *view.strides[:2]) if len(view.dims) == 3 else view.strides[:3]
    # The stride of a single row says nothing; C wants one that holds it.
    return view.offset, batch, head, max(row, view.dims[-1]) if view.dims[-2] == 1 else row


def _rows(
    lowering: Lowering, value: Value, as_codes: bool, *, is_turned: bool
) -> tuple[Tensor, Box]:
    """The tensor that a value's rows lie in, and where; is_turned: columns instead of rows."""
    rank = value.rank
    order = [*range(rank - 2), rank - 1, rank - 2] if is_turned else list(range(rank))
    for view in views(lowering, value, as_codes=as_codes):
        turned = _in_order(view, order)
        if _holds_rows(turned):
            return lowering.form(view.source, Layout.PLAIN), _box(turned)
    source = value.codes.source if as_codes and value.codes is not None else value
    tensor = lowering.transposed(lowering.form(source, Layout.PLAIN), order)
    return tensor, _box(View(source, tensor.shape, tuple(contiguous_strides(tensor.shape))))


def _in_order(view: View, order: Sequence[int]) -> View:
    dims, strides = ([items[d] for d in order] for items in (view.dims, view.strides))
    return View(view.source, tuple(dims), tuple(strides), view.offset)


def _holds_rows(view: View) -> bool:
    """True if the elements of a row are neighbours, and rows do not overlap."""
    row, element = view.strides[-2:]
    rows, length = view.dims[-2:]
    is_dense = element == 1 or length == 1
    return is_dense and (row >= length or rows == 1) and min(view.strides) >= 0


def _mask(lowering: Lowering, found: _Attention) -> tuple[Tensor, Box]:
    """The mask's tensor, and strides of 0 where it is repeated."""
    mask, rank = found.mask, found.q.rank
    assert mask is not None
    lead = (1,) * (rank - mask.rank)
    dims = (*lead, *mask.shape)
    strides = [
        0 if size == 1 else stride
        for size, stride in zip(dims, contiguous_strides(dims), strict=True)
    ]
    batch, head, row = (0, *strides[:2]) if rank == 3 else strides[:3]
    return lowering.form(mask, Layout.PLAIN), (0, batch, head, row)


def _result(lowering: Lowering, name: str, ends: Sequence[Node]) -> tuple[Tensor, Box]:
    """The tensor that is written, behind conversions and movements, and where its rows go."""
    lowering.absorb(ends)
    if ends:
        name = ends[0].outputs[0]
    value, chain = lowering.value(name), list[Node]()
    view = View(value, value.shape, tuple(contiguous_strides(value.shape)))
    if len(ends) <= 1:
        nodes, moved = moved_result(lowering, name)
        if _holds_rows(moved):
            chain, view = nodes, moved
    lowering.absorb(chain)
    y = lowering.new_form(view.source, Layout.PLAIN)
    for end in ends[1:]:  # equal QuantizeLinear nodes share one set of forms
        lowering.output(end).forms = value.forms
    return y, _box(view)
