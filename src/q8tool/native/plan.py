"""A plan of the C engine: tensors, steps, one call that runs them all.

The methods stand one to one for the functions of csrc/q8.h, where every formula is written; names
of arguments are the same. Tensors are ids that `tensor` and `constant` return.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.errors import NativeError
from q8tool.native._q8 import ffi, lib
from q8tool.native.arguments import Arguments, enum_code
from q8tool.native.choice import ChoosingPlan
from q8tool.native.recurrent import RecurrentPlan

__all__ = ["Plan"]

INFINITY = float("inf")
Pair = tuple[int, int]


class Plan(RecurrentPlan, ChoosingPlan):
    """A flat list of C steps over one arena; build once, run often, free by close() or `with`.

    isa     instruction set of its kernels; None: the best that this CPU (and Q8_ISA) allows

    Raises UsageError for an instruction set that is not there. All other methods raise NativeError
    when the C engine refuses: a type, rank, size or order that it does not take. Methods that add
    steps return the range of their indices, as step_name, step_macs and step_ns count them.
    """

    # ---- eight-bit steps ----

    def conv(
        self,
        x: int,
        y: int,
        weights: npt.NDArray[np.int8],
        *,
        stride: Pair = (1, 1),
        pad: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        weight_zero_point: npt.ArrayLike | None = None,
        bias: npt.ArrayLike | None = None,
        x_zero_point: int = 0,
        multiplier: npt.ArrayLike | None = None,
        y_zero_point: int = 0,
        y_low: int = 0,
        y_high: int = 255,
        float_bias: npt.ArrayLike | None = None,
        float_low: float = -INFINITY,
        float_high: float = INFINITY,
        x_scale_tensor: int | None = None,
        x_zero_point_tensor: int | None = None,
        y_scale: float = 1.0,
        residual: int | None = None,
        table: npt.ArrayLike | None = None,
        gate: int | None = None,
        gate_x_zero_point: int = 0,
        gate_zero_point: int = 0,
        gate_low: int = 0,
        gate_high: int = 255,
        gate_multiplier: float = 1.0,
        addend: int | None = None,
        sum_codes: Sequence[int] = (0, 0, 0, 0, 255),
        sum_multipliers: tuple[float, float] = (1.0, 1.0),
    ) -> range:
        """Convolution of codes, and every product with constant weights: q8_plan_add_conv.

        weights   int8 [OC, KH, KW, C / groups], or [C, OC] of a plain product; pad is (top, left),
                  the rest follows from y
        weight_zero_point, bias, multiplier, float_bias   None or [OC]
        table     None, or what each code becomes at last: 256 codes
        gate      None, or a tensor [N, 1, 1, C] that x is multiplied with: q8_gate
        addend    None, or a tensor like y to which codes are added: q8_addend, whose codes (zero
                  points of a, b and y, lowest and highest y) and multipliers (of a and b) follow
        """
        arguments = Arguments()
        outputs = [self._dims(y, 4)[3]]
        descriptor = self._window("q8_conv *", x, y, weights, np.int8, arguments, groups)
        _fill_window(descriptor, stride, pad, dilation)
        pointer = arguments.pointer
        descriptor.weight_zero_point = pointer(
            weight_zero_point, np.int32, outputs, "weight_zero_point"
        )
        descriptor.bias = pointer(bias, np.int32, outputs, "bias")
        descriptor.multiplier = pointer(multiplier, np.float32, outputs, "multiplier")
        descriptor.float_bias = pointer(float_bias, np.float32, outputs, "float_bias")
        descriptor.x_zero_point = x_zero_point
        descriptor.y_zero_point = y_zero_point
        descriptor.y_low, descriptor.y_high = y_low, y_high
        descriptor.float_low, descriptor.float_high = float_low, float_high
        descriptor.x_scale_tensor = _optional(x_scale_tensor)
        descriptor.x_zero_point_tensor = _optional(x_zero_point_tensor)
        descriptor.y_scale = y_scale
        descriptor.residual = _optional(residual)
        descriptor.table = pointer(table, np.uint8, [256], "table")
        numbers = (gate_x_zero_point, gate_zero_point, gate_low, gate_high, gate_multiplier)
        kept_gate = None if gate is None else ffi.new("q8_gate *", (gate, *numbers))
        if kept_gate is not None:
            descriptor.gate = kept_gate
        codes = (_optional(addend), *sum_codes, *sum_multipliers)
        kept_addend = ffi.new("q8_addend *", codes)
        if addend is not None:
            descriptor.addend = kept_addend
        return self._add(lib.q8_plan_add_conv, descriptor, writes=[y])

    def matmul(
        self,
        a: int,
        b: int,
        y: int,
        *,
        a_zero_point: int = 0,
        b_zero_point: int = 0,
        a_zero_point_tensor: int | None = None,
        b_zero_point_tensor: int | None = None,
        multiplier: float = 1.0,
        y_zero_point: int = 0,
        y_low: int = 0,
        y_high: int = 255,
        a_scale_tensor: int | None = None,
        b_scale_tensor: int | None = None,
    ) -> range:
        """Product of two tensors of codes, [B, M, K] and [B or 1, K, N]: q8_plan_add_matmul."""
        descriptor: Any = ffi.new("q8_matmul *")
        descriptor.a, descriptor.b, descriptor.y = a, b, y
        descriptor.a_zero_point, descriptor.b_zero_point = a_zero_point, b_zero_point
        descriptor.a_zero_point_tensor = _optional(a_zero_point_tensor)
        descriptor.b_zero_point_tensor = _optional(b_zero_point_tensor)
        descriptor.multiplier = multiplier
        descriptor.y_zero_point = y_zero_point
        descriptor.y_low, descriptor.y_high = y_low, y_high
        descriptor.a_scale_tensor = _optional(a_scale_tensor)
        descriptor.b_scale_tensor = _optional(b_scale_tensor)
        return self._add(lib.q8_plan_add_matmul, descriptor, writes=[y])

    def attention(
        self,
        q: int,
        k: int,
        v: int,
        y: int,
        mask: int | None = None,
        *,
        sizes: Sequence[int],
        places: Mapping[str, Sequence[int]],
        scale: float,
        q_zero_point: int = 0,
        k_zero_point: int = 0,
        v_zero_point: int = 0,
        p_zero_point: int = 0,
        p_scale: float = 1.0,
        multiplier: float = 1.0,
        y_zero_point: int = 0,
        y_low: int = 0,
        y_high: int = 255,
        zero_hidden: bool = False,
    ) -> range:
        """Softmax(q k^T * scale + mask) v of every head, codes or floats: q8_plan_add_attention.

        sizes   batches, heads, rows, columns, depth, value depth
        places  by the tensor's name: offset and the strides of batch, head and row, in elements
        zero_hidden  rows whose mask is -inf throughout give 0 instead of NaN
        """
        descriptor: Any = ffi.new("q8_attention *")
        names = ("batches", "heads", "rows", "columns", "depth", "value_depth")
        for name, size in zip(names, sizes, strict=True):
            setattr(descriptor, name, size)
        tensors = {"q": q, "k": k, "v": v, "y": y, "mask": _optional(mask)}
        for name, tensor in tensors.items():
            box = getattr(descriptor, name)
            box.tensor = tensor
            box.offset, box.batch_stride, box.head_stride, box.row_stride = places.get(
                name, (0, 0, 0, 0)
            )
        descriptor.scale, descriptor.p_scale, descriptor.multiplier = scale, p_scale, multiplier
        descriptor.q_zero_point, descriptor.k_zero_point = q_zero_point, k_zero_point
        descriptor.v_zero_point, descriptor.p_zero_point = v_zero_point, p_zero_point
        descriptor.y_zero_point = y_zero_point
        descriptor.y_low, descriptor.y_high = y_low, y_high
        descriptor.zero_hidden = zero_hidden
        return self._add(lib.q8_plan_add_attention, descriptor, writes=[y])

    def pool(
        self,
        kind: str,
        x: int,
        y: int,
        *,
        kernel: Pair,
        stride: Pair = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilation: Pair = (1, 1),
        count_include_pad: bool = False,
        x_zero_point: int = 0,
        y_zero_point: int = 0,
        y_low: int = 0,
        y_high: int = 255,
        multiplier: float = 1.0,
    ) -> range:
        """Pooling of uint8 or float32: q8_plan_add_pool.

        kind   "max" or "average"; pads are (top, left, bottom, right)
        """
        descriptor: Any = ffi.new("q8_pool *")
        descriptor.x, descriptor.y = x, y
        descriptor.kind = enum_code("POOL", kind)
        descriptor.kernel_h, descriptor.kernel_w = kernel
        _fill_window(descriptor, stride, pads[:2], dilation)
        descriptor.pad_bottom, descriptor.pad_right = pads[2:]
        descriptor.count_include_pad = count_include_pad
        descriptor.x_zero_point, descriptor.y_zero_point = x_zero_point, y_zero_point
        descriptor.y_low, descriptor.y_high = y_low, y_high
        descriptor.multiplier = multiplier
        return self._add(lib.q8_plan_add_pool, descriptor, writes=[y])

    def max_pool_indices(
        self,
        x: int,
        y: int,
        *,
        kernel: Pair,
        stride: Pair,
        pads: tuple[int, int, int, int],
        dilation: Pair,
        column_major: bool,
    ) -> range:
        """Where the maxima lie, int64 as ONNX counts them: q8_plan_add_max_pool_indices."""
        descriptor: Any = ffi.new("q8_pool *")
        descriptor.x, descriptor.y = x, y
        descriptor.kernel_h, descriptor.kernel_w = kernel
        _fill_window(descriptor, stride, pads[:2], dilation)
        descriptor.pad_bottom, descriptor.pad_right = pads[2:]
        function = lib.q8_plan_add_max_pool_indices
        return self._add(function, descriptor, column_major, writes=[y])

    def quantize(self, x: int, y: int, *, scale: float, zero_point: int) -> range:
        """Codes of float32 values: y = saturate(rint(x / scale) + zero_point)."""
        return self._add(lib.q8_plan_add_quantize, x, y, scale, zero_point, writes=[y])

    def quantize_picture(self, x: int, y: int, *, scale: float, zero_point: int) -> range:
        """The same of pictures of three channels: x [N, 3, H, W], y [N, H, W, 3]."""
        return self._add(lib.q8_plan_add_quantize_picture, x, y, scale, zero_point, writes=[y])

    def dequantize(self, x: int, y: int, *, scale: float, zero_point: int) -> range:
        """Float32 values of codes: y = (x - zero_point) * scale."""
        return self._add(lib.q8_plan_add_dequantize, x, y, scale, zero_point, writes=[y])

    def dynamic_quantize(
        self,
        x: int,
        y: int,
        scale: int,
        zero_point: int,
        *,
        x_range: int | None = None,
        factor: int | None = None,
    ) -> range:
        """ONNX DynamicQuantizeLinear: codes, scale and zero point of what x, or x * factor, holds.

        x_range  float32 [2] as find_range leaves it; None: x is read for it
        factor   None, or float32 [N, 1, 1, C] for x [N, H, W, C]; x_range is that of the products
        """
        add, given = lib.q8_plan_add_dynamic_quantize, (_optional(x_range), _optional(factor))
        return self._add(add, x, *given, y, scale, zero_point, writes=[y, scale, zero_point])

    def find_range(self, y: int, y_range: int) -> range:
        """The step added last also widens y_range by all that it writes to y: q8_plan_find_range.

        y_range  float32 [2], -low and high; begins with numbers not below 0

        Adds no step.
        """
        return self._add(lib.q8_plan_find_range, y, y_range, writes=[y_range])

    def find_channels(self, y: int, joins: int, least: int, greatest: int, sums: int) -> range:
        """The step that conv_f32 joined also leaves float32 [N, C] of y: q8_plan_find_channels.

        joins  as of conv_f32

        Adds no step.
        """
        self._dims(joins, 4)
        found = (least, greatest, sums)
        return self._add(lib.q8_plan_find_channels, y, *found, writes=found)

    def then_unary(self, y: int, op: str, *, alpha: float = 0.0, beta: float = 0.0) -> range:
        """The step added last puts f(value) where it would put a value of y: q8_plan_then_unary.

        Adds no step.
        """
        add = lib.q8_plan_then_unary
        return self._add(add, y, enum_code("UNARY", op), alpha, beta, writes=[y])

    def table(self, x: int, y: int, table: npt.ArrayLike) -> range:
        """Any function of one code: y[i] = table[x[i]], 256 entries."""
        arguments = Arguments()
        entries = arguments.pointer(table, np.uint8, [256], "table")
        return self._add(lib.q8_plan_add_table, x, y, entries, writes=[y])

    def binary(
        self,
        op: str,
        a: int,
        b: int,
        y: int,
        *,
        a_zero_point: int,
        b_zero_point: int,
        y_zero_point: int,
        a_multiplier: float,
        b_multiplier: float = 1.0,
        y_low: int = 0,
        y_high: int = 255,
    ) -> range:
        """Add, sub or mul ("add", ...) of codes with broadcasting: q8_plan_add_binary."""
        descriptor: Any = ffi.new("q8_binary *")
        descriptor.op = enum_code("", op)
        descriptor.a, descriptor.b, descriptor.y = a, b, y
        descriptor.a_zero_point, descriptor.b_zero_point = a_zero_point, b_zero_point
        descriptor.y_zero_point = y_zero_point
        descriptor.y_low, descriptor.y_high = y_low, y_high
        descriptor.a_multiplier, descriptor.b_multiplier = a_multiplier, b_multiplier
        return self._add(lib.q8_plan_add_binary, descriptor, writes=[y])

    # ---- float steps ----

    def conv_f32(
        self,
        x: int,
        y: int,
        weights: npt.NDArray[np.float32],
        *,
        stride: Pair = (1, 1),
        pad: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        bias: npt.ArrayLike | None = None,
        low: float = -INFINITY,
        high: float = INFINITY,
        joins: int | None = None,
    ) -> range:
        """Float convolution, and every product with constant weights.

        weights  [OC, KH, KW, C / groups], or [C, OC] of a plain product
        joins  what the step added last reads, if that is to keep x to itself and to do this
               depthwise convolution, too; then no step is added: q8_plan_then_depthwise
        """
        arguments = Arguments()
        descriptor = self._window("q8_conv_f32 *", x, y, weights, np.float32, arguments, groups)
        _fill_window(descriptor, stride, pad, dilation)
        descriptor.bias = arguments.pointer(bias, np.float32, [self._dims(y, 4)[3]], "bias")
        descriptor.low, descriptor.high = low, high
        add = lib.q8_plan_add_conv_f32 if joins is None else lib.q8_plan_then_depthwise
        return self._add(add, descriptor, writes=[y])

    def matmul_f32(self, a: int, b: int, y: int, *, alpha: float = 1.0) -> range:
        """Float product y = a @ b * alpha of [B, M, K] and [B or 1, K, N]."""
        return self._add(lib.q8_plan_add_matmul_f32, a, b, y, alpha, writes=[y])

    def unary_f32(self, op: str, x: int, y: int, *, alpha: float = 0.0, beta: float = 0.0) -> range:
        """Float function of one value, "clamp", "sigmoid", ...: q8_unary_op in lower case."""
        code = enum_code("UNARY", op)
        return self._add(lib.q8_plan_add_unary_f32, code, x, y, alpha, beta, writes=[y])

    def binary_f32(self, op: str, a: int, b: int, y: int) -> range:
        """Float y = a op b with broadcasting, "add", "div", ...: q8_binary_op in lower case."""
        return self._add(lib.q8_plan_add_binary_f32, enum_code("", op), a, b, y, writes=[y])

    def arithmetic(self, op: str, a: int, b: int, y: int) -> range:
        """The same of integers, which wrap around, and of float64: "add" to "max"."""
        return self._add(lib.q8_plan_add_arithmetic, enum_code("", op), a, b, y, writes=[y])

    def softmax_f32(self, x: int, y: int, *, log_softmax: bool = False) -> range:
        """Softmax, or its logarithm, over the last axis."""
        return self._add(lib.q8_plan_add_softmax_f32, x, y, log_softmax, writes=[y])

    def layer_norm_f32(
        self,
        x: int,
        scale: int,
        bias: int | None,
        y: int | None = None,
        codes: int | None = None,
        *,
        epsilon: float,
        code_scale: float = 1.0,
        code_zero_point: int = 0,
    ) -> range:
        """Layer normalization over the last axis, its result as floats, codes or both."""
        descriptor: Any = ffi.new("q8_layer_norm *")
        descriptor.x, descriptor.scale, descriptor.bias = x, scale, _optional(bias)
        descriptor.y, descriptor.codes = _optional(y), _optional(codes)
        descriptor.epsilon, descriptor.code_scale = epsilon, code_scale
        descriptor.code_zero_point = code_zero_point
        results = [tensor for tensor in (y, codes) if tensor is not None]
        return self._add(lib.q8_plan_add_layer_norm, descriptor, writes=results)

    def reduce_f32(self, op: str, x: int, y: int, *, outer: int, axis: int, inner: int) -> range:
        """Reduce x, viewed as [outer, axis, inner]: "sum", "mean", "max", "min", "sum_square"."""
        code = enum_code("REDUCE", op)
        return self._add(lib.q8_plan_add_reduce_f32, code, x, y, outer, axis, inner, writes=[y])

    def argmax(
        self, x: int, y: int, *, outer: int, axis: int, inner: int, last_index: bool = False
    ) -> range:
        """Index (int64) of the greatest element along the axis of x as [outer, axis, inner]."""
        return self._add(lib.q8_plan_add_argmax, x, y, outer, axis, inner, last_index, writes=[y])

    def ends(self, x: int, ends: int) -> range:
        """Lowest, highest and sum of stretches of x, [rows, 3] float32: q8_plan_add_ends."""
        return self._add(lib.q8_plan_add_ends, x, ends, writes=[ends])

    def histogram(self, x: int, ends: int, counts: int) -> range:
        """Values of x per bin (int64) of a power-of-two width: q8_plan_add_histogram."""
        return self._add(lib.q8_plan_add_histogram, x, ends, counts, writes=[counts])

    # ---- inside ----

    def _window(
        self,
        ctype: str,
        x: int,
        y: int,
        weights: npt.NDArray[Any],
        dtype: npt.DTypeLike,
        arguments: Arguments,
        groups: int,
    ) -> Any:
        """A descriptor with everything that follows from the weights."""
        are_rows = weights.ndim == 2 and groups == 1
        if not are_rows and (weights.ndim != 4 or groups < 1):
            raise NativeError(f"weights have rank {weights.ndim}, not 4, or {groups} groups")
        channels, outputs = self._dims(x, 4)[3], self._dims(y, 4)[3]
        kernel = (1, 1) if are_rows else weights.shape[1:3]
        shape = (channels, outputs) if are_rows else (outputs, *kernel, channels // groups)
        descriptor: Any = ffi.new(ctype)
        descriptor.weights_are_rows = are_rows
        descriptor.x, descriptor.y, descriptor.groups = x, y, groups
        descriptor.kernel_h, descriptor.kernel_w = kernel
        descriptor.weights = arguments.pointer(weights, dtype, shape, "weights")
        return descriptor


def _fill_window(descriptor: Any, stride: Pair, pad: Pair, dilation: Pair) -> None:
    descriptor.stride_h, descriptor.stride_w = stride
    descriptor.pad_top, descriptor.pad_left = pad
    descriptor.dilation_h, descriptor.dilation_w = dilation


def _optional(tensor: int | None) -> int:
    return -1 if tensor is None else tensor
