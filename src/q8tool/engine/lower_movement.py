"""Movement of data: Reshape and its kin, Transpose, Slice, Split, Pad, Expand, Tile, Gather ...

A value that exists as codes moves as codes and keeps its table; every other value moves in its own
type. Concat, which may bring different scales together, is in lower_concat.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor, scalar
from q8tool.engine.strided import expanded, gathered, sliced
from q8tool.engine.tensors import (
    Layout,
    Tensor,
    around_axis,
    contiguous_strides,
    new_tensor,
    physical_axis,
    physical_shape,
)
from q8tool.engine.values import Codes, Declined, Value

__all__ = ["LOWERINGS", "constant_input", "moved", "slice_bounds"]

Move = Callable[[Tensor, Layout], Tensor]
BOTH = (Layout.PLAIN, Layout.CHANNELS_LAST)


def moved(
    lowering: Lowering,
    node: Node,
    move: Move,
    layouts: Sequence[Layout] = BOTH,
    *,
    output: int = 0,
    out_layout: Layout | None = None,
) -> None:
    """Gives an output the node's moved input 0, as codes where the input exists as codes.

    move        emits the steps for a tensor in one of `layouts` and returns the result
    out_layout  the result's layout if that is not the input's
    """
    x, y = lowering.input(node, 0), lowering.output(node, output)
    if x.codes is None:
        _move_form(lowering, x, y, move, layouts, out_layout)
        return
    codes = x.codes
    target = Value(f"{y.name} codes", Fact(codes.source.dtype, y.fact.shape))
    _move_form(lowering, codes.source, target, move, layouts, out_layout)
    y.codes = Codes(target, codes.grid, codes.given)
    if not codes.is_affine:
        again = partial(_move_form, lowering, x, y, move, layouts, out_layout)
        y.deferred = partial(lowering.lower_by, lambda *_: again(), node)


def _move_form(
    lowering: Lowering,
    x: Value,
    y: Value,
    move: Move,
    layouts: Sequence[Layout],
    out_layout: Layout | None,
) -> None:
    layout = lowering.layout_of(x)
    if layout not in layouts:
        layout = layouts[0]
    if x.rank < 3:
        layout = Layout.PLAIN
    result = move(lowering.form(x, layout), layout)
    target = out_layout or layout
    y.forms[target if y.rank >= 3 else Layout.PLAIN] = result


def constant_input(lowering: Lowering, node: Node, position: int, name: str) -> NDArray[Any] | None:
    """A parameter that is an input or, in older opsets, an attribute; None if it is neither.

    Raises Declined if it is an input that only the run will tell.
    """
    value = lowering.optional(node, position)
    if value is None:
        given = node.attributes.get(name)
        return None if given is None else np.asarray(given)
    if not value.is_constant:
        raise Declined(f"its input {name} is known only at run time")
    return value.fact.array()


# ---- the same bytes under another shape ----


def lower_view(lowering: Lowering, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: no step, only a name."""
    shape, given = lowering.output(node).shape, lowering.input(node, 0).shape
    if math.prod(shape) != math.prod(given):
        raise Declined(f"{list(given)} has not as many entries as {list(shape)}")
    moved(lowering, node, lambda x, _: x.view(shape), [Layout.PLAIN], out_layout=Layout.PLAIN)


def lower_identity(lowering: Lowering, node: Node) -> None:
    """Identity, and a Dropout that drops nothing; its mask is true everywhere."""
    training = lowering.optional(node, 2) if node.op_type == "Dropout" else None
    if training is not None and scalar(training) is not False:
        ratio = lowering.optional(node, 1)
        if ratio is None or scalar(ratio) != 0:
            _lower_dropping(lowering, node)
            return
    if len(node.outputs) > 1 and node.outputs[1]:
        mask = lowering.output(node, 1)
        if mask.dtype != np.bool_:
            raise Declined(f"a mask of {mask.dtype} has no C kernel")
        target = lowering.new_form(mask, Layout.PLAIN)
        lowering.emit("fill", {}, {"y": target}, value=np.uint8(1))
    moved(lowering, node, lambda x, _: x)


def _lower_dropping(lowering: Lowering, node: Node) -> None:
    """A Dropout that drops: which values go follows from its seed alone, as in onnx.reference."""
    x, y = lowering.input(node, 0), lowering.output(node)
    parameters = [lowering.value(name) for name in node.inputs[1:] if name]
    if node.attributes.get("seed") is None or not all(value.is_constant for value in parameters):
        raise Declined("dropout in training mode is random")
    if not x.is_float:
        raise Declined("its input is not float32")
    from q8tool.ops.host import HostOperator

    ones = np.ones(x.shape, np.float32)
    operator = HostOperator(node.proto, node.reads, lowering.graph.opsets)
    kept = operator.run([ones, *(value.fact.array() for value in parameters)])
    reads: dict[str, Tensor | None] = {
        "a": lowering.form(x, Layout.PLAIN),
        "b": constant_tensor(np.asarray(kept[0], np.float32)),
    }
    lowering.emit("binary_f32", reads, {"y": lowering.new_form(y, Layout.PLAIN)}, op="mul")
    if len(node.outputs) > 1 and node.outputs[1]:
        lowering.output(node, 1).forms = {Layout.PLAIN: constant_tensor(kept[1])}


def lower_transpose(lowering: Lowering, node: Node) -> None:
    """One copy, or none where the bytes are in the wanted order already."""
    x, rank = lowering.input(node, 0), lowering.input(node, 0).rank
    order = [int(d) for d in node.attributes.get("perm", range(rank)[::-1])]

    def transposed(tensor: Tensor, layout: Layout) -> Tensor:
        return lowering.transposed(tensor, [physical_axis(axis, rank, layout) for axis in order])

    source = x if x.codes is None else x.codes.source
    if _becomes_channels_last(lowering, source, order):
        last = [order[0], *order[2:], order[1]]
        moved(
            lowering,
            node,
            lambda tensor, _: lowering.transposed(tensor, last),
            [Layout.PLAIN],
            out_layout=Layout.CHANNELS_LAST,
        )
        return
    moved(lowering, node, transposed, out_layout=Layout.PLAIN)


def _becomes_channels_last(lowering: Lowering, x: Value, order: list[int]) -> bool:
    """True for NHWC -> NCHW of a plain tensor: its bytes are the channels-last form already."""
    rank = len(order)
    to_channels_first = [0, rank - 1, *range(1, rank - 1)]
    return rank >= 3 and order == to_channels_first and lowering.layout_of(x) is Layout.PLAIN


# ---- parts and repetitions ----


def slice_bounds(lowering: Lowering, node: Node) -> tuple[list[int], list[int]]:
    """Of a Slice with constant bounds: where each axis begins and its step."""
    x = lowering.input(node, 0)
    starts = constant_input(lowering, node, 1, "starts")
    given_axes = constant_input(lowering, node, 3, "axes")
    given_steps = constant_input(lowering, node, 4, "steps")
    assert starts is not None
    axes = range(len(starts)) if given_axes is None else given_axes
    begins, steps = [0] * x.rank, [1] * x.rank
    for position, axis in enumerate(axes):
        axis = int(axis) % x.rank
        step = 1 if given_steps is None else int(given_steps[position])
        size, begin = x.shape[axis], int(starts[position])
        begin = begin + size if begin < 0 else begin
        begins[axis] = min(max(begin, 0), size - 1 if step < 0 else size)
        steps[axis] = step
    return begins, steps


def lower_slice(lowering: Lowering, node: Node) -> None:
    """Slice with constant bounds, steps of either sign."""
    y = lowering.output(node)
    begins, steps = slice_bounds(lowering, node)

    def cut(tensor: Tensor, layout: Layout) -> Tensor:
        dims = physical_shape(y.shape, layout)
        return sliced(lowering, tensor, _physical(begins, layout), _physical(steps, layout), dims)

    moved(lowering, node, cut)


def lower_split(lowering: Lowering, node: Node) -> None:
    """One slice per output."""
    x = lowering.input(node, 0)
    axis = int(node.attributes.get("axis", 0)) % x.rank
    begin = 0
    for position, name in enumerate(node.outputs):
        if not name:
            raise Declined("an output is left out")
        y = lowering.value(name)
        if y.is_constant:
            continue  # an empty one
        begins = [begin if d == axis else 0 for d in range(x.rank)]

        def cut(tensor: Tensor, layout: Layout, y: Value = y, begins: list[int] = begins) -> Tensor:
            dims = physical_shape(y.shape, layout)
            return sliced(lowering, tensor, _physical(begins, layout), [1] * len(dims), dims)

        moved(lowering, node, cut, output=position)
        begin += y.shape[axis]


def lower_pad(lowering: Lowering, node: Node) -> None:
    """Pad with a constant, with the edge or mirrored; negative pads cut."""
    x, y = lowering.input(node, 0), lowering.output(node)
    pads = constant_input(lowering, node, 1, "pads")
    if pads is None:
        pads = np.asarray(node.attributes["paddings"])
    axes = constant_input(lowering, node, 3, "axes")
    before = [0] * x.rank
    for position, axis in enumerate(range(x.rank) if axes is None else axes):
        before[int(axis) % x.rank] = int(pads[position])
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        moved(lowering, node, partial(_gathered_pad, lowering, mode, before, y))
        return
    value = lowering.optional(node, 2)
    empty = node.attributes.get("value", 0.0) if value is None else scalar(value)
    if empty is None:
        raise Declined("its value is known only at run time")
    if x.codes is None:
        # Stored codes of int8 are 128 higher.
        stored = empty + 128 if x.dtype == np.int8 else empty
        moved(lowering, node, partial(_filled_pad, lowering, before, y, stored))
        return
    same = np.flatnonzero(x.codes.table == np.float32(empty))
    if not same.size:
        lowering.explain("no code stands for the value that it pads with")
        _move_form(lowering, x, y, partial(_filled_pad, lowering, before, y, empty), BOTH, None)
        return

    def pad(tensor: Tensor, layout: Layout) -> Tensor:
        fill = empty if tensor.dtype == np.float32 else same[0]
        return _filled_pad(lowering, before, y, fill, tensor, layout)

    moved(lowering, node, pad)


def _filled_pad(
    lowering: Lowering, before: list[int], y: Value, empty: Any, x: Tensor, layout: Layout
) -> Tensor:
    """A tensor full of `empty` with x copied into it."""
    result = new_tensor(x.dtype, physical_shape(y.shape, layout))
    begins = _physical(before, layout)
    cut = [max(-begin, 0) for begin in begins]
    places = [max(begin, 0) for begin in begins]
    sizes = [
        min(size - start, total - place)
        for size, start, total, place in zip(x.shape, cut, result.shape, places, strict=True)
    ]
    if min(sizes) < 1:
        raise Declined("nothing of its input remains")
    lowering.emit("fill", {}, {"y": result}, value=x.dtype.type(empty))
    strides = contiguous_strides(result.shape)
    x_strides = contiguous_strides(x.shape)
    lowering.copy(
        x,
        result,
        sizes,
        x_strides,
        strides,
        x_offset=sum(c * s for c, s in zip(cut, x_strides, strict=True)),
        y_offset=sum(p * s for p, s in zip(places, strides, strict=True)),
    )
    return result


def _gathered_pad(
    lowering: Lowering, mode: str, before: list[int], y: Value, x: Tensor, layout: Layout
) -> Tensor:
    """Pad whose border repeats what is inside: one gather per padded axis."""
    begins, dims = _physical(before, layout), physical_shape(y.shape, layout)
    for axis, (begin, total) in enumerate(zip(begins, dims, strict=True)):
        size = x.shape[axis]
        if total == size and begin == 0:
            continue
        places = np.arange(total, dtype=np.int64) - begin
        if mode == "edge":
            indices = np.clip(places, 0, size - 1)
        elif mode == "wrap":
            indices = places % size
        elif size == 1:
            indices = np.zeros_like(places)
        else:
            period = 2 * (size - 1)
            indices = np.abs((places + size - 1) % period - (size - 1))
        x = gathered(lowering, x, axis, indices)
    return x


def lower_expand(lowering: Lowering, node: Node) -> None:
    """Broadcasting to a constant shape."""
    shape = lowering.output(node).shape
    moved(lowering, node, lambda x, _: expanded(lowering, x, shape), [Layout.PLAIN])


def lower_tile(lowering: Lowering, node: Node) -> None:
    """Repetition: a copy with a dimension of stride 0 before each repeated one."""
    x, y = lowering.input(node, 0), lowering.output(node)
    repeats = [total // size for size, total in zip(x.shape, y.shape, strict=True)]
    if sum(repeat != 1 for repeat in repeats) + x.rank > 8:
        raise Declined("more than eight dimensions have no C kernel")

    def tiled(tensor: Tensor, layout: Layout) -> Tensor:
        result = new_tensor(tensor.dtype, physical_shape(y.shape, layout))
        dims: list[int] = []
        x_strides: list[int] = []
        y_strides: list[int] = []
        steps = zip(
            _physical(repeats, layout),
            tensor.shape,
            contiguous_strides(tensor.shape),
            contiguous_strides(result.shape),
            strict=True,
        )
        for repeat, size, x_stride, y_stride in steps:
            if repeat != 1:
                dims.append(repeat)
                x_strides.append(0)
                y_strides.append(size * y_stride)
            dims.append(size)
            x_strides.append(x_stride)
            y_strides.append(y_stride)
        lowering.copy(tensor, result, dims, x_strides, y_strides)
        return result

    moved(lowering, node, tiled)


def lower_gather(lowering: Lowering, node: Node) -> None:
    """Entries of one axis by indices, constant or not."""
    x, y = lowering.input(node, 0), lowering.output(node)
    axis = int(node.attributes.get("axis", 0)) % max(x.rank, 1)
    if not lowering.input(node, 1).is_constant:
        moved(lowering, node, partial(_looked_up, lowering, node, axis), [Layout.PLAIN])
        return
    indices = constant_input(lowering, node, 1, "indices")
    assert indices is not None
    flat = indices.ravel().astype(np.int64)

    def picked(tensor: Tensor, layout: Layout) -> Tensor:
        result = gathered(lowering, tensor, physical_axis(axis, x.rank, layout), flat)
        return result.view(physical_shape(y.shape, layout))

    moved(lowering, node, picked, BOTH if indices.ndim == 1 else [Layout.PLAIN])


def _looked_up(lowering: Lowering, node: Node, axis: int, x: Tensor, layout: Layout) -> Tensor:
    """Entries of one axis by indices that the run brings."""
    indices = lowering.form(lowering.input(node, 1), layout)
    result = new_tensor(x.dtype, lowering.output(node).shape)
    lowering.emit(
        "gather_at",
        {"x": x, "indices": indices},
        {"y": result},
        **around_axis(x.shape, axis),
    )
    return result


# ---- blocks of pixels ----


def lower_depth_to_space(lowering: Lowering, node: Node) -> None:
    """Channels become blocks of pixels: one copy of six dimensions."""
    n, c, h, w = lowering.input(node, 0).shape
    block = int(node.attributes["blocksize"])
    depth = c // block**2
    # Channels as (row, column, depth) or (depth, row, column).
    is_crd = node.attributes.get("mode", "DCR") == "CRD"
    row, column, d = (block, 1, block**2) if is_crd else (block * depth, depth, 1)

    def spread(x: Tensor, layout: Layout) -> Tensor:
        sn, sc, sh, sw = _strides_of((n, c, h, w), layout)
        out = (n, depth, h * block, w * block)
        yn, yc, yh, yw = _strides_of(out, layout)
        y = new_tensor(x.dtype, physical_shape(out, layout))
        dims = (n, h, block, w, block, depth)
        x_strides = (sn, sh, row * sc, sw, column * sc, d * sc)
        lowering.copy(x, y, dims, x_strides, (yn, block * yh, yh, block * yw, yw, yc))
        return y

    moved(lowering, node, spread)


def lower_space_to_depth(lowering: Lowering, node: Node) -> None:
    """Blocks of pixels become channels: one copy of six dimensions."""
    n, c, h, w = lowering.input(node, 0).shape
    block = int(node.attributes["blocksize"])
    is_crd = node.attributes.get("mode", "DCR") == "CRD"
    row, column, d = (block, 1, block**2) if is_crd else (block * c, c, 1)
    out = (n, c * block**2, h // block, w // block)

    def packed(x: Tensor, layout: Layout) -> Tensor:
        sn, sc, sh, sw = _strides_of((n, c, h, w), layout)
        yn, yc, yh, yw = _strides_of(out, layout)
        y = new_tensor(x.dtype, physical_shape(out, layout))
        dims = (n, out[2], block, out[3], block, c)
        y_strides = (yn, yh, row * yc, yw, column * yc, d * yc)
        lowering.copy(x, y, dims, (sn, block * sh, sh, block * sw, sw, sc), y_strides)
        return y

    moved(lowering, node, packed)


def _strides_of(shape: tuple[int, int, int, int], layout: Layout) -> tuple[int, int, int, int]:
    """Element strides of N, C, H and W in a layout."""
    strides = contiguous_strides(physical_shape(shape, layout))
    order = [physical_axis(axis, 4, layout) for axis in range(4)]
    return strides[order[0]], strides[order[1]], strides[order[2]], strides[order[3]]


def _physical(values: Sequence[int], layout: Layout) -> list[int]:
    """One number per ONNX dimension, in physical order."""
    return list(physical_shape(values, layout))


LOWERINGS: dict[str, LoweringFunction] = {
    "Reshape": lower_view,
    "Flatten": lower_view,
    "Squeeze": lower_view,
    "Unsqueeze": lower_view,
    "Identity": lower_identity,
    "Dropout": lower_identity,
    "Transpose": lower_transpose,
    "Slice": lower_slice,
    "Split": lower_split,
    "Pad": lower_pad,
    "Expand": lower_expand,
    "Tile": lower_tile,
    "Gather": lower_gather,
    "DepthToSpace": lower_depth_to_space,
    "SpaceToDepth": lower_space_to_depth,
}
