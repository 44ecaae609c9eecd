"""Conv and ConvTranspose: float, or codes in and codes or floats out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.affine import following_affine, scaled
from q8tool.engine.epilogue import find_epilogue, find_residual
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.products import bias_codes, code_weights, emit_code_product
from q8tool.engine.tensors import Layout, Tensor, contiguous_strides, new_tensor
from q8tool.engine.values import Codes, Declined, Value
from q8tool.engine.windows import Window, as_picture, window_of

__all__ = ["LOWERINGS", "channels_last_weights"]

Array = NDArray[Any]


@dataclass(eq=False)
class _Convolution:
    """A Conv or ConvTranspose as one convolution of C.

    arranged  brings ONNX weights to [OC, KH, KW, C / groups]
    axis      of w that counts output channels, for scales per channel
    spread    distance of x's pixels in the picture that is convolved: ConvTranspose's stride
    """

    node: Node
    x: Value
    w: Value
    bias: Value | None
    window: Window
    groups: int
    arranged: Callable[[Array], Array]
    axis: int | None
    spread: tuple[int, int] = (1, 1)


def lower_conv(lowering: Lowering, node: Node) -> None:
    """One step, with bias, BatchNormalization, clamp and requantize inside."""
    x, w, bias = _operands(lowering, node)
    window = window_of(node, x.shape, w.shape[2:])
    groups = int(node.attributes.get("group", 1))
    _lower(lowering, _Convolution(node, x, w, bias, window, groups, channels_last_weights, axis=0))


def lower_conv_transpose(lowering: Lowering, node: Node) -> None:
    """A convolution with turned weights over a picture spread out by the stride."""
    x, w, bias = _operands(lowering, node)
    window = window_of(node, x.shape, w.shape[2:])
    groups = int(node.attributes.get("group", 1))
    pads = _transposed_pads(node, window, x.shape[2:], lowering.output(node).shape[2:])
    turned = Window(window.kernel, (1, 1), window.dilation, (*pads, 0, 0))

    def arranged(array: Array) -> Array:
        grouped = array.reshape(groups, len(array) // groups, *array.shape[1:])
        swapped = grouped.swapaxes(1, 2).reshape(-1, len(array) // groups, *array.shape[2:])
        flipped = np.flip(swapped, axis=tuple(range(2, swapped.ndim)))
        return channels_last_weights(flipped)

    axis = 1 if groups == 1 else None
    convolution = _Convolution(
        node, x, w, bias, turned, groups, arranged, axis, spread=window.stride
    )
    _lower(lowering, convolution)


def channels_last_weights(array: Array) -> Array:
    """(OC, C, W) or (OC, C, H, W) -> (OC, KH, KW, C), contiguous. Declined for other ranks."""
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


def _transposed_pads(
    node: Node, window: Window, x_size: tuple[int, ...], y_size: tuple[int, ...]
) -> tuple[int, int]:
    """Padding at top and left of the spread picture."""
    begins = list(window.pads[:2])
    auto_pad = node.attributes.get("auto_pad", "NOTSET")
    extra = tuple(node.attributes.get("output_padding", (0,) * len(x_size)))
    if auto_pad.startswith("SAME") or "output_shape" in node.attributes:
        for d in range(len(x_size)):
            place = d + 2 - len(x_size)
            reach = (window.kernel[place] - 1) * window.dilation[place] + 1
            total = window.stride[place] * (x_size[d] - 1) + extra[d] + reach - y_size[d]
            total = max(total, 0)
            begins[place] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
    pads = [
        (kernel - 1) * dilation - begin
        for kernel, dilation, begin in zip(window.kernel, window.dilation, begins, strict=True)
    ]
    if min(pads) < 0:
        raise Declined("padding beyond the kernel has no C kernel")
    return pads[0], pads[1]


def _lower(lowering: Lowering, convolution: _Convolution) -> None:
    constant = convolution.w.quantized
    codes = lowering.affine_codes(convolution.x)
    is_eightbit = constant is not None and constant.codes.dtype in (np.int8, np.uint8)
    if is_eightbit and codes is not None:
        assert constant is not None
        if constant.axis in (None, convolution.axis):
            _lower_codes(lowering, convolution, codes)
            return
        lowering.explain("the scales of its weights are not per output channel")
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
    weights = code_weights(array, constant.scale, constant.zero_point)
    bias = bias_codes(convolution.bias, codes.grid.scale, weights.scale)
    epilogue, residual = find_epilogue(lowering, convolution.node.outputs[0]), None
    joined = find_residual(lowering, epilogue)
    if joined is not None:
        value, epilogue = joined
        residual = as_picture(lowering.form(value, Layout.CHANNELS_LAST))
    source = as_picture(lowering.form(codes.source, Layout.CHANNELS_LAST))
    source = _spread(lowering, source, convolution.spread, np.uint8(codes.grid.zero_point))
    y = as_picture(epilogue.result(Layout.CHANNELS_LAST))
    arguments = _window_arguments(window, convolution.groups)
    emit_code_product(
        lowering, source, codes.grid, weights, bias, epilogue, y, residual=residual, **arguments
    )


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
    source = as_picture(lowering.form(convolution.x, Layout.CHANNELS_LAST))
    source = _spread(lowering, source, convolution.spread, np.float32(0))
    lowering.absorb(affine.nodes)
    y = as_picture(epilogue.result(Layout.CHANNELS_LAST))
    lowering.emit(
        "conv_f32",
        {"x": source},
        {"y": y},
        weights=lambda: scaled(convolution.arranged(convolution.w.fact.array()), affine.factor),
        bias=np.asarray(offset, np.float32),
        low=epilogue.low,
        high=epilogue.high,
        **_window_arguments(convolution.window, convolution.groups),
    )


def _spread(lowering: Lowering, x: Tensor, stride: tuple[int, int], empty: np.generic) -> Tensor:
    """x [N, H, W, C] with its pixels stride apart, `empty` between them."""
    if stride == (1, 1):
        return x
    n, h, w, c = x.shape
    y = new_tensor(x.dtype, (n, (h - 1) * stride[0] + 1, (w - 1) * stride[1] + 1, c))
    strides = contiguous_strides(y.shape)
    spread = [strides[0], strides[1] * stride[0], strides[2] * stride[1], 1]
    lowering.emit("fill", {}, {"y": y}, value=empty)
    lowering.copy(x, y, x.shape, contiguous_strides(x.shape), spread)
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
