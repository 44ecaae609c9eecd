"""Views: movements of data as offset and strides into what they move, so that nothing is copied.

    qkv (1, 197, 1152) -> Reshape -> Transpose -> Split -> Squeeze -> q (1, 6, 197, 64)
    q[b, h, m, d] = qkv[0 + b * 226944 + h * 64 + m * 1152 + d]

For steps that read rows at any distance from each other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import constant_input, slice_bounds
from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import contiguous_strides
from q8tool.engine.values import Declined, Value

__all__ = ["View", "moved_result", "views"]

_SHAPES = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


class View(NamedTuple):
    """Where each element of a value lies in the plain form of another: offset and strides.

    source  the value whose plain form it looks into; codes where the value is codes
    """

    source: Value
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


def views(lowering: Lowering, value: Value, *, as_codes: bool) -> Iterator[View]:
    """All views of a value, the one that spares most copies first, the value itself last.

    as_codes  of its codes, which it must have
    """
    moves: list[tuple[Node, int]] = []
    sources = [(value, 0)]
    while (step := _before(lowering, sources[-1][0], as_codes)) is not None:
        before, node, position = step
        if node is not None:
            moves.append((node, position))
        sources.append((before, len(moves)))
    for source, count in sources[::-1]:
        view: View | None = _plain(source, as_codes)
        for node, position in moves[:count][::-1]:
            view = None if view is None else _moved(lowering, view, node, position)
        if view is not None:
            yield view


def moved_result(lowering: Lowering, name: str) -> tuple[list[Node], View]:
    """The movements that only pass a value on, and how the value lies in what they end with.

    The view's source is the last result. No node: the value is its own source.
    """
    chain: list[Node] = []
    last = name
    while (node := lowering.sole_consumer(last)) is not None:
        if node.domain or node.op_type not in (*_SHAPES, "Transpose") or node.input(0) != last:
            break
        if lowering.value(node.outputs[0]).fact.shape is None:
            break
        chain.append(node)
        last = node.outputs[0]
    while True:
        view = _undone(lowering, lowering.value(name), chain)
        if view is not None:
            return chain, view
        chain.pop()


def _plain(value: Value, as_codes: bool) -> View:
    source = value.codes.source if as_codes and value.codes is not None else value
    return View(source, value.shape, tuple(contiguous_strides(value.shape)))


def _before(
    lowering: Lowering, value: Value, as_codes: bool
) -> tuple[Value, Node | None, int] | None:
    """What a value is moved from, and by which output of which node; no node for its codes."""
    node = lowering.producers.get(value.name)
    if node is None or node.domain or value.is_constant:
        return None
    source = lowering.value(node.input(0)) if node.input(0) else None
    if source is None or source.is_constant or source.fact.shape is None:
        return None
    if node.op_type == "DequantizeLinear":
        is_plain = value.codes is not None and value.codes.source is source
        return (source, None, 0) if as_codes and is_plain else None
    if node.op_type not in (*_SHAPES, "Transpose", "Split", "Slice", "Gather"):
        return None
    return source, node, node.outputs.index(value.name)


def _moved(lowering: Lowering, view: View, node: Node, position: int) -> View | None:
    """The view of a movement's output, from that of its input; None if it takes a copy."""
    try:
        if node.op_type == "Transpose":
            return _transposed(view, node)
        if node.op_type == "Split":
            return _part(lowering, view, node, position)
        if node.op_type == "Slice":
            begins, steps = slice_bounds(lowering, node)
            return _cut(view, begins, steps, lowering.output(node).shape)
        if node.op_type == "Gather":
            return _picked(lowering, view, node)
        return _reshaped(view, lowering.output(node).shape)
    except Declined:
        return None


def _transposed(view: View, node: Node) -> View:
    rank = len(view.dims)
    order = [int(d) for d in node.attributes.get("perm", range(rank)[::-1])]
    return View(
        view.source,
        tuple(view.dims[d] for d in order),
        tuple(view.strides[d] for d in order),
        view.offset,
    )


def _cut(view: View, begins: Sequence[int], steps: Sequence[int], dims: Sequence[int]) -> View:
    offset = sum(begin * stride for begin, stride in zip(begins, view.strides, strict=True))
    strides = tuple(step * stride for step, stride in zip(steps, view.strides, strict=True))
    return View(view.source, tuple(dims), strides, view.offset + offset)


def _part(lowering: Lowering, view: View, node: Node, position: int) -> View:
    rank = len(view.dims)
    axis = int(node.attributes.get("axis", 0)) % rank
    before = sum(lowering.value(name).shape[axis] for name in node.outputs[:position])
    begins = [before if d == axis else 0 for d in range(rank)]
    return _cut(view, begins, [1] * rank, lowering.value(node.outputs[position]).shape)


def _picked(lowering: Lowering, view: View, node: Node) -> View | None:
    """One entry of an axis, by a constant index."""
    indices = constant_input(lowering, node, 1, "indices")
    axis = int(node.attributes.get("axis", 0)) % len(view.dims)
    if indices is None or indices.size != 1:
        return None
    begin = int(indices.ravel()[0]) % view.dims[axis]
    begins = [begin if d == axis else 0 for d in range(len(view.dims))]
    dims = [1 if d == axis else size for d, size in enumerate(view.dims)]
    cut = _cut(view, begins, [1] * len(dims), dims)
    return _reshaped(cut, lowering.output(node).shape)


def _reshaped(view: View, shape: tuple[int, ...]) -> View | None:
    """The same elements under another shape, if strides can say where they lie."""
    dims = [d for d in view.dims if d != 1]
    strides = [s for d, s in zip(view.dims, view.strides, strict=True) if d != 1]
    result: list[int] = [0] * len(shape)
    wanted = [axis for axis, size in enumerate(shape) if size != 1]
    old = new = 0
    while new < len(wanted):
        first_old, first_new = old, new
        if old >= len(dims):
            return None
        old_size, new_size = dims[old], shape[wanted[new]]
        old, new = old + 1, new + 1
        while old_size != new_size:
            if old_size < new_size:
                if old >= len(dims):
                    return None
                old_size, old = old_size * dims[old], old + 1
            else:
                if new >= len(wanted):
                    return None
                new_size, new = new_size * shape[wanted[new]], new + 1
        # Old dimensions that are merged must lie like one.
        for d in range(first_old, old - 1):
            if strides[d] != strides[d + 1] * dims[d + 1]:
                return None
        stride = strides[old - 1]
        for axis in wanted[first_new:new][::-1]:
            result[axis], stride = stride, stride * shape[axis]
    return View(view.source, tuple(shape), tuple(result), view.offset)


def _undone(lowering: Lowering, value: Value, chain: Sequence[Node]) -> View | None:
    """How the value lies in the result of the chain, which movements of all its elements are."""
    last = lowering.value(chain[-1].outputs[0]) if chain else value
    view: View | None = View(last, last.shape, tuple(contiguous_strides(last.shape)))
    for node in chain[::-1]:
        assert view is not None
        shape = lowering.value(node.input(0)).shape
        if node.op_type == "Transpose":
            rank = len(shape)
            order = [int(d) for d in node.attributes.get("perm", range(rank)[::-1])]
            back = [order.index(d) for d in range(rank)]
            view = View(
                last,
                tuple(view.dims[d] for d in back),
                tuple(view.strides[d] for d in back),
            )
        else:
            view = _reshaped(view, shape)
        if view is None:
            return None
    return view
