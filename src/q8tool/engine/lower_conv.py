"""Conv and ConvTranspose: float, or codes in and codes or floats out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.affine import following_affine, scaled
from q8tool.engine.epilogue import find_epilogue, find_residual
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.phases import Phases, phases_of
from q8tool.engine.products import (
    UNFIT_BIAS,
    bias_codes,
    code_weights,
    emit_code_product,
    has_code_bias,
)
from q8tool.engine.tensors import Layout, Tensor, contiguous_strides, new_tensor
from q8tool.engine.values import Codes, Declined, Value
from q8tool.engine.volumes import layers_beside, layers_beside_weights
from q8tool.engine.windows import Window, as_picture, volume_windows, window_of
from q8tool.ops.padding import split_padding

__all__ = ["LOWERINGS", "channels_last_weights", "conv_picture"]

Array = NDArray[Any]


@dataclass(eq=False)
class _Convolution:
    """A Conv or ConvTranspose as one convolution of C.

    arranged  brings ONNX weights to [OC, KH, KW, C / groups]
    axis      of w that counts output channels, for scales per channel
    repeats   how often the scales along that axis repeat among the output channels
    picture   brings x, channels last, to the picture that is convolved; given what is empty there
    phases    of a ConvTranspose, whose results are still to be laid beside each other
    """

    node: Node
    x: Value
    w: Value
    bias: Value | None
    window: Window
    groups: int
    arranged: Callable[[Array], Array]
    picture: Callable[[Tensor, np.generic], Tensor]
    axis: int
    repeats: int = 1
    phases: Phases | None = None


def lower_conv(lowering: Lowering, node: Node) -> None:
    """One step, with bias, BatchNormalization, clamp and requantize inside."""
    x, w, bias = _operands(lowering, node)
    groups = int(node.attributes.get("group", 1))
    window, picture = conv_picture(lowering, node, x.shape, w.shape[2:], groups)
    convolution = _Convolution(
        node, x, w, bias, window, groups, channels_last_weights, picture, axis=0
    )
    _lower(lowering, convolution)


def conv_picture(
    lowering: Lowering,
    node: Node,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    groups: int,
) -> tuple[Window, Callable[[Tensor, np.generic | Tensor], Tensor]]:
    """The window over the picture that a Conv of an input of this shape sees, and what makes it."""
    if len(shape) != 5:
        return window_of(node, shape, kernel), lambda x, _: as_picture(x)
    flat, line = volume_windows(node, shape, kernel)
    depth = lowering.output(node).shape[2]
    return flat, lambda x, empty: layers_beside(lowering, x, line, depth, groups, empty)


def lower_conv_transpose(lowering: Lowering, node: Node) -> None:
    """A convolution of phases; or one with turned weights over a picture spread by the stride."""
    x, w, bias = _operands(lowering, node)
    groups = int(node.attributes.get("group", 1))
    if w.shape[0] != x.shape[1] or w.shape[0] % groups:
        raise Declined("its weights do not fit its input")
    y_size = lowering.output(node).shape[2:]
    if x.rank == 5:
        flat, line = volume_windows(node, x.shape, w.shape[2:])
        depth = [_Dimension(line.kernel[0], line.stride[0], line.dilation[0], line.pads[0])]
    else:
        flat, depth = window_of(node, x.shape, w.shape[2:]), []
    sides = [
        _Dimension(flat.kernel[d], flat.stride[d], flat.dilation[d], flat.pads[d]) for d in (0, 1)
    ]
    dimensions = [*depth, *sides]
    pads = _transposed_pads(node, dimensions, x.shape[2:], y_size)
    phases = None if depth or groups > 1 else phases_of(flat, (pads[-2], pads[-1]), y_size)
    if phases is not None and not (w.quantized is not None and w.quantized.zero_point.any()):
        _lower(lowering, _by_phases(node, x, w, bias, phases))
        return
    turned = Window(flat.kernel, (1, 1), flat.dilation, (pads[-2], pads[-1], 0, 0))
    strides = [dimension.stride for dimension in dimensions]

    def picture(x: Tensor, empty: np.generic) -> Tensor:
        spread = _spread(lowering, x if depth else as_picture(x), strides, empty)
        if not depth:
            return spread
        along = Window((line.kernel[0], 1), (1, 1), (line.dilation[0], 1), (pads[0], 0, 0, 0))
        return layers_beside(lowering, spread, along, y_size[0], groups, empty)

    def arranged(array: Array) -> Array:
        grouped = array.reshape(groups, len(array) // groups, *array.shape[1:])
        swapped = grouped.swapaxes(1, 2).reshape(-1, len(array) // groups, *array.shape[2:])
        flipped = np.flip(swapped, axis=tuple(range(2, swapped.ndim)))
        return channels_last_weights(flipped)

    convolution = _Convolution(
        node, x, w, bias, turned, groups, arranged, picture, axis=1, repeats=groups
    )
    _lower(lowering, convolution)


def _by_phases(node: Node, x: Value, w: Value, bias: Value | None, phases: Phases) -> _Convolution:
    """A ConvTranspose of one group."""
    return _Convolution(
        node, x, w, bias, phases.window(), 1, phases.arranged, lambda x, _: as_picture(x), axis=1,
        repeats=phases.count, phases=phases,
    )  # fmt: skip


def channels_last_weights(array: Array) -> Array:
    """(OC, C, W), (OC, C, H, W) or (OC, C, D, H, W) -> (OC, KH, KW, C or D * C), contiguous.

    Declined for other ranks.
    """
    if array.ndim == 5:
        return layers_beside_weights(array)
    if array.ndim not in (3, 4):
        raise Declined(f"its weights have rank {array.ndim}")
    if array.ndim == 3:
        array = array[:, :, None, :]
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def _operands(lowering: Lowering, node: Node) -> tuple[Value, Value, Value | None]:
    x, w, bias = lowering.input(node, 0), lowering.input(node, 1), lowering.optional(node, 2)
    if not w.is_constant or not (bias is None or bias.is_constant):
        raise Declined("its weights are not constant")
    if not x.is_float:
        raise Declined("its input is not float32")
    return x, w, bias


class _Dimension(NamedTuple):
    """A window along one dimension; pad: before the first value."""

    kernel: int
    stride: int
    dilation: int
    pad: int

    @property
    def reach(self) -> int:
        """How many values it spans."""
        return (self.kernel - 1) * self.dilation + 1


def _transposed_pads(
    node: Node, window: list[_Dimension], x_size: tuple[int, ...], y_size: tuple[int, ...]
) -> list[int]:
    """Padding before the spread picture, per dimension of the window."""
    begins = [dimension.pad for dimension in window]
    auto_pad = node.attributes.get("auto_pad", "NOTSET")
    extra = tuple(node.attributes.get("output_padding", (0,) * len(x_size)))
    if auto_pad.startswith("SAME") or "output_shape" in node.attributes:
        for d in range(len(x_size)):
            place = d + len(window) - len(x_size)
            stride, reach = window[place].stride, window[place].reach
            total = max(stride * (x_size[d] - 1) + extra[d] + reach - y_size[d], 0)
            begins[place], _ = split_padding(auto_pad, total)
    pads = [dimension.reach - 1 - begin for dimension, begin in zip(window, begins, strict=True)]
    if min(pads) < 0:
        raise Declined("padding beyond the kernel has no C kernel")
    return pads


def _lower(lowering: Lowering, convolution: _Convolution) -> None:
    constant = convolution.w.quantized
    codes = lowering.affine_codes(convolution.x)
    is_eightbit = constant is not None and constant.codes.dtype in (np.int8, np.uint8)
    if is_eightbit and codes is not None:
        assert constant is not None
        if constant.axis not in (None, convolution.axis):
            lowering.explain("the scales of its weights are not per output channel")
        elif not has_code_bias(convolution.bias, codes.grid.scale, constant.scale):
            lowering.explain(UNFIT_BIAS)
        else:
            _lower_codes(lowering, convolution, codes)
            return
    elif codes is not None:
        lowering.explain("its weights are not eight-bit codes")
    elif is_eightbit:
        lowering.explain("its input is float")
    _lower_float(lowering, convolution)


def _lower_codes(lowering: Lowering, convolution: _Convolution, codes: Codes) -> None:
    """Codes times int8 weights."""
    constant, window = convolution.w.quantized, convolution.window
    assert constant is not None
    array = convolution.arranged(constant.codes.array())
    repeats = convolution.repeats if constant.axis is not None else 1
    scale, zero_point = np.tile(constant.scale, repeats), np.tile(constant.zero_point, repeats)
    weights = code_weights(array, scale, zero_point)
    phases = convolution.phases
    count = 1 if phases is None else phases.count
    bias = bias_codes(convolution.bias, codes.grid.scale, weights.scale[: len(array) // count])
    bias = None if bias is None else np.tile(bias, count)
    epilogue, residual = find_epilogue(lowering, convolution.node.outputs[0]), None
    joined = find_residual(lowering, epilogue) if phases is None else None
    if joined is not None:
        value, epilogue = joined
        residual = as_picture(lowering.form(value, Layout.CHANNELS_LAST))
    source = lowering.form(codes.source, Layout.CHANNELS_LAST)
    source = convolution.picture(source, np.uint8(codes.grid.zero_point))
    result = as_picture(epilogue.result(Layout.CHANNELS_LAST))
    y = result if phases is None else new_tensor(result.dtype, phases.shape(result))
    arguments = _window_arguments(window, convolution.groups)
    emit_code_product(
        lowering, source, codes.grid, weights, bias, epilogue, y, residual=residual, **arguments
    )
    if phases is not None:
        phases.lay_out(lowering, y, result)


def _lower_float(lowering: Lowering, convolution: _Convolution) -> None:
    """Float weights, with what follows folded into them."""
    name = convolution.node.outputs[0]
    channels = lowering.value(name).shape[1]
    affine = following_affine(lowering, name, channels, 1, scales=True)
    offset = affine.offset
    if convolution.bias is not None:
        bias = convolution.bias.fact.array()
        offset = offset + (bias if affine.factor is None else bias * affine.factor)
    epilogue = find_epilogue(lowering, affine.name, codes=False)
    source = lowering.form(convolution.x, Layout.CHANNELS_LAST)
    source = convolution.picture(source, np.float32(0))
    lowering.absorb(affine.nodes)
    phases = convolution.phases
    count = 1 if phases is None else phases.count
    factor = None if affine.factor is None else np.tile(affine.factor, count)
    result = as_picture(epilogue.result(Layout.CHANNELS_LAST))
    y = result if phases is None else new_tensor(result.dtype, phases.shape(result))
    lowering.emit(
        "conv_f32",
        {"x": source},
        {"y": y},
        weights=lambda: scaled(convolution.arranged(convolution.w.fact.array()), factor),
        bias=np.tile(np.asarray(offset, np.float32), count),
        low=epilogue.low,
        high=epilogue.high,
        **_window_arguments(convolution.window, convolution.groups),
    )
    if phases is not None:
        phases.lay_out(lowering, y, result)


def _spread(lowering: Lowering, x: Tensor, strides: list[int], empty: np.generic) -> Tensor:
    """x [N, ..., C] with its values `strides` apart, `empty` between them."""
    if set(strides) == {1}:
        return x
    n, *size, channels = x.shape
    wide = [(old - 1) * stride + 1 for old, stride in zip(size, strides, strict=True)]
    y = new_tensor(x.dtype, (n, *wide, channels))
    steps = contiguous_strides(y.shape)
    apart = [step * stride for step, stride in zip(steps, [1, *strides, 1], strict=True)]
    lowering.emit("fill", {}, {"y": y}, value=empty)
    lowering.copy(x, y, x.shape, contiguous_strides(x.shape), apart)
    return y


def _window_arguments(window: Window, groups: int) -> dict[str, Any]:
    return {
        "stride": window.stride,
        "pad": window.pads[:2],
        "dilation": window.dilation,
        "groups": groups,
    }


LOWERINGS: dict[str, LoweringFunction] = {
    "Conv": lower_conv,
    "ConvTranspose": lower_conv_transpose,
}
