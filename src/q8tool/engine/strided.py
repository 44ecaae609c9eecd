"""Movements of data as strided copies between tensors, on physical dimensions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import Layout, Tensor, around_axis, contiguous_strides, new_tensor
from q8tool.engine.values import Value

__all__ = [
    "broadcast_form",
    "expanded",
    "gathered",
    "operand_forms",
    "region_copied",
    "sliced",
]


def broadcast_form(lowering: Lowering, value: Value, rank: int, layout: Layout) -> Tensor:
    """The value's tensor with leading ones up to `rank`, in the given layout of that rank."""
    if value.rank == rank or rank < 3:
        return lowering.form(value, layout)
    plain = lowering.form(value, Layout.PLAIN)
    full = plain.view((1,) * (rank - value.rank) + plain.shape)
    return lowering.reordered(full, layout) if layout is Layout.CHANNELS_LAST else full


def operand_forms(
    lowering: Lowering, values: Sequence[Value], rank: int, *, may_be_channels_last: bool = True
) -> tuple[Layout, list[Tensor]]:
    """Operands in their own types and one layout, with leading ones up to `rank`, and the layout.

    int8 stays as ONNX has it; else a picture's layout is kept, where there is one.
    """
    layout = Layout.PLAIN
    if any(value.dtype == np.int8 for value in values):
        layout = Layout.RAW
    elif may_be_channels_last:
        layout = lowering.layout_of(*[value for value in values if value.rank == rank])
    if layout is Layout.CHANNELS_LAST:
        return layout, [broadcast_form(lowering, value, rank, layout) for value in values]
    forms = []
    for value in values:
        form = lowering.form(value, layout if value.dtype == np.int8 else Layout.PLAIN)
        forms.append(form.view((1,) * (rank - value.rank) + form.shape))
    return layout, forms


def expanded(lowering: Lowering, x: Tensor, dims: Sequence[int]) -> Tensor:
    """x repeated to dims by numpy's broadcasting rule; a view where nothing repeats."""
    lead = len(dims) - len(x.shape)
    shape = (1,) * lead + x.shape
    if shape == tuple(dims):
        return x.view(dims)
    strides = contiguous_strides(shape)
    strides = [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]
    y = new_tensor(x.dtype, dims)
    lowering.copy(x, y, dims, strides, contiguous_strides(dims))
    return y


def sliced(
    lowering: Lowering, x: Tensor, starts: Sequence[int], steps: Sequence[int], dims: Sequence[int]
) -> Tensor:
    """x[starts + index * steps] for every index of dims; a view where that is all of x."""
    if tuple(dims) == x.shape and all(step == 1 for step in steps):
        return x
    strides = contiguous_strides(x.shape)
    y = new_tensor(x.dtype, dims)
    lowering.copy(
        x,
        y,
        dims,
        [stride * step for stride, step in zip(strides, steps, strict=True)],
        contiguous_strides(dims),
        x_offset=sum(start * stride for start, stride in zip(starts, strides, strict=True)),
    )
    return y


def region_copied(
    lowering: Lowering,
    x: Tensor,
    y: Tensor,
    starts: Sequence[int],
    table: NDArray[np.uint8] | None = None,
) -> None:
    """Writes x into y from index `starts` on, through a table of codes if there is one."""
    strides = contiguous_strides(y.shape)
    offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    x_strides = contiguous_strides(x.shape)
    lowering.copy(x, y, x.shape, x_strides, strides, y_offset=offset, table=table)


def gathered(lowering: Lowering, x: Tensor, axis: int, indices: NDArray[np.int64]) -> Tensor:
    """x with the entries `indices` of one physical axis, in that order."""
    dims = (*x.shape[:axis], indices.size, *x.shape[axis + 1 :])
    y = new_tensor(x.dtype, dims)
    lowering.emit(
        "gather",
        {"x": x},
        {"y": y},
        **around_axis(x.shape, axis),
        indices=indices.ravel(),
    )
    return y
