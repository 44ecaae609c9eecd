"""MaxPool, AveragePool and their global forms, of codes or floats, channels last."""

import math

import numpy as np

from q8tool.engine.epilogue import Epilogue, find_epilogue
from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import moved
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout, Tensor, new_tensor, physical_axis, physical_shape
from q8tool.engine.values import Codes, Declined, Value
from q8tool.engine.windows import Window, as_picture, volume_windows, window_of

__all__ = ["LOWERINGS", "lower_mean_of_codes"]

# Of a window, in pictures; of all windows, in values that are read.
_MOST_PICTURES = 4
_MOST_VALUES = 10**11


def lower_max_pool(lowering: Lowering, node: Node) -> None:
    """The greatest code of a window is the code of the greatest value."""
    x = lowering.input(node, 0)
    _refuse_far_larger_windows(lowering, node)
    has_indices = len(node.outputs) > 1 and bool(node.outputs[1])
    if x.rank == 5 and not has_indices:
        _lower_volume(lowering, node, "max")
        return
    window = window_of(node, x.shape, tuple(node.attributes["kernel_shape"]))
    _lower_max(lowering, node, window)
    if not has_indices:
        return
    # Read in the values' own type, as equal codes may stand for different values before them.
    source = lowering.form(x, Layout.CHANNELS_LAST)
    indices = lowering.new_form(lowering.output(node, 1), Layout.CHANNELS_LAST)
    lowering.emit(
        "max_pool_indices",
        {"x": as_picture(source)},
        {"y": as_picture(indices)},
        kernel=window.kernel,
        stride=window.stride,
        pads=window.pads,
        dilation=window.dilation,
        column_major=bool(node.attributes.get("storage_order", 0)),
    )


def lower_global_max_pool(lowering: Lowering, node: Node) -> None:
    """MaxPool over the whole picture."""
    _lower_max(lowering, node, _whole_picture(lowering.input(node, 0)))


def lower_average_pool(lowering: Lowering, node: Node) -> None:
    """Averages; codes in and out where QuantizeLinear follows."""
    x = lowering.input(node, 0)
    _refuse_far_larger_windows(lowering, node)
    if x.rank == 5:
        _lower_volume(lowering, node, "average")
        return
    window = window_of(node, x.shape, tuple(node.attributes["kernel_shape"]))
    _refuse_far_padding(window)
    _lower_average(lowering, node, window, bool(node.attributes.get("count_include_pad", 0)))


def lower_global_average_pool(lowering: Lowering, node: Node) -> None:
    """AveragePool over the whole picture."""
    _lower_average(lowering, node, _whole_picture(lowering.input(node, 0)), False)


def _whole_picture(x: Value) -> Window:
    """The window that covers all of (N, C, W), (N, C, H, W) or (N, C, D, H, W)."""
    if x.rank not in (3, 4, 5):
        raise Declined(f"windows of {x.rank - 2} dimensions have no C kernel")
    kernel = (int(np.prod(x.shape[2:-1])), x.shape[-1])
    return Window(kernel, (1, 1), (1, 1), (0, 0, 0, 0))


def _lower_max(lowering: Lowering, node: Node, window: Window) -> None:
    shape = lowering.output(node).shape

    def pooled(x: Tensor, _: Layout) -> Tensor:
        y = new_tensor(x.dtype, physical_shape(shape, Layout.CHANNELS_LAST))
        _emit_pool(lowering, "max", x, y, window)
        return y

    _refuse_other_types(lowering.input(node, 0))
    moved(lowering, node, pooled, [Layout.CHANNELS_LAST])


def _lower_average(lowering: Lowering, node: Node, window: Window, includes_pads: bool) -> None:
    """The average of every window, as the node's output."""
    x = lowering.input(node, 0)
    if not x.is_float:
        raise Declined("its input is not float32")
    codes = lowering.affine_codes(x)
    epilogue = find_epilogue(lowering, node.outputs[0])
    if codes is None or epilogue.params is None:
        if codes is not None:
            lowering.explain("no QuantizeLinear follows")
        source = lowering.form(x, Layout.CHANNELS_LAST)
        y = lowering.new_form(lowering.output(node), Layout.CHANNELS_LAST)
        _emit_pool(lowering, "average", source, y, window, count_include_pad=includes_pads)
        return
    source = lowering.form(codes.source, Layout.CHANNELS_LAST)
    y = epilogue.result(Layout.CHANNELS_LAST)
    _emit_average_of_codes(lowering, codes, source, epilogue, y, window, includes_pads)


def lower_mean_of_codes(lowering: Lowering, node: Node, axes: list[int]) -> bool:
    """A ReduceMean of codes as a pooling; False if it is none.

    axes  ascending, counted from 0
    """
    x = lowering.input(node, 0)
    codes, epilogue = lowering.affine_codes(x), find_epilogue(lowering, node.outputs[0])
    if codes is None or epilogue.params is None:
        return False
    is_picture = x.rank in (3, 4, 5) and axes == list(range(2, x.rank))
    layout = Layout.CHANNELS_LAST if is_picture else Layout.PLAIN
    places = sorted(physical_axis(axis, x.rank, layout) for axis in axes)
    first, last = places[0], places[-1]
    if places != list(range(first, last + 1)) or last == x.rank - 1:
        return False
    source = lowering.form(codes.source, layout)
    sizes = source.shape
    outer, inner = int(np.prod(sizes[:first])), int(np.prod(sizes[last + 1 :]))
    averaged = int(np.prod(sizes[first : last + 1]))
    y = epilogue.result(layout)
    window = Window((averaged, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    _emit_average_of_codes(
        lowering, codes, source.view((outer, averaged, 1, inner)), epilogue,
        y.view((outer, 1, 1, inner)), window, False,
    )  # fmt: skip
    return True


def _emit_average_of_codes(
    lowering: Lowering,
    codes: Codes,
    x: Tensor,
    epilogue: Epilogue,
    y: Tensor,
    window: Window,
    includes_pads: bool,
) -> None:
    assert epilogue.params is not None
    low, high = epilogue.code_bounds()
    _emit_pool(
        lowering,
        "average",
        x,
        y,
        window,
        count_include_pad=includes_pads,
        x_zero_point=codes.grid.zero_point,
        y_zero_point=epilogue.params.zero_point,
        multiplier=float(np.float32(codes.grid.scale) / np.float32(epilogue.params.scale)),
        y_low=low,
        y_high=high,
    )


def _lower_volume(lowering: Lowering, node: Node, kind: str) -> None:
    """A window of three dimensions: over height and width, then over depth.

    The maximum of maxima, of codes or floats; the average of averages, as every window counts the
    same number of values for each of its depths. Averages stay float: rounded twice, codes would be
    off by more than one.
    """
    x, y = lowering.input(node, 0), lowering.output(node)
    windows = volume_windows(node, x.shape, tuple(node.attributes["kernel_shape"]))
    n, c, depth, *_ = x.shape
    deep, *result = y.shape[2:]
    includes = {"count_include_pad": bool(node.attributes.get("count_include_pad", 0))}
    arguments = includes if kind == "average" else {}

    def pooled(x: Tensor, _: Layout) -> Tensor:
        between = new_tensor(x.dtype, (n * depth, *result, c))
        _emit_pool(lowering, kind, as_picture(x), between, windows[0], **arguments)
        target = new_tensor(x.dtype, (n, deep, *result, c))
        pixels = int(np.prod(result))
        lines, ends = between.view((n, depth, pixels, c)), target.view((n, deep, pixels, c))
        _emit_pool(lowering, kind, lines, ends, windows[1], **arguments)
        return target

    if kind == "max":
        _refuse_other_types(x)
        moved(lowering, node, pooled, [Layout.CHANNELS_LAST])
        return
    if not x.is_float:
        raise Declined(f"averages of volumes of {x.dtype} have no C kernel")
    if lowering.affine_codes(x) is not None:
        lowering.explain("averages of volumes are float")
    layout = Layout.CHANNELS_LAST
    y.forms[layout] = pooled(lowering.form(x, layout), layout)


def _refuse_other_types(x: Value) -> None:
    if x.dtype not in (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8)):
        raise Declined(f"pooling of {x.dtype} has no C kernel")


def _emit_pool(
    lowering: Lowering,
    kind: str,
    x: Tensor,
    y: Tensor,
    window: Window,
    **arguments: int | float | bool,
) -> None:
    if kind == "max":
        _refuse_far_padding(window)
    lowering.emit(
        "pool",
        {"x": _flat(x)},
        {"y": _flat(y)},
        kind=kind,
        kernel=window.kernel,
        stride=window.stride,
        pads=window.pads,
        dilation=window.dilation,
        **arguments,
    )


def _refuse_far_padding(window: Window) -> None:
    if max(window.pads[0], window.pads[1]) >= max(window.kernel) * max(window.dilation):
        raise Declined("padding beyond the kernel has no C kernel")


def _refuse_far_larger_windows(lowering: Lowering, node: Node) -> None:
    """C goes over all of a window, also where it lies outside; the host over what is inside."""
    taps = math.prod(node.attributes["kernel_shape"])
    pixels = math.prod(lowering.input(node, 0).shape[2:])
    values = math.prod(lowering.output(node).shape)
    if values and (taps > _MOST_PICTURES * pixels or taps * values > _MOST_VALUES):
        raise Declined("windows far larger than their picture have no C kernel")


def _flat(tensor: Tensor) -> Tensor:
    """A picture; of a volume depth and height are one side, which only a whole one allows."""
    if len(tensor.shape) < 5:
        return as_picture(tensor)
    n, depth, height, *rest = tensor.shape
    return tensor.view((n, depth * height, *rest))


LOWERINGS: dict[str, LoweringFunction] = {
    "MaxPool": lower_max_pool,
    "GlobalMaxPool": lower_global_max_pool,
    "AveragePool": lower_average_pool,
    "GlobalAveragePool": lower_global_average_pool,
}
