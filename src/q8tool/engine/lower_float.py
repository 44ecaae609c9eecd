"""Steps that work in float: softmax, layer norm, reductions, histograms; ArgMax and Cast."""

from functools import partial
from typing import Any

import numpy as np

from q8tool.engine.epilogue import shared_codes
from q8tool.engine.graph import Node
from q8tool.engine.lower_arithmetic import INTEGERS
from q8tool.engine.lower_movement import constant_input
from q8tool.engine.lower_pool import lower_mean_of_codes
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.strided import operand_forms
from q8tool.engine.tensors import Layout, Tensor, around_axis, new_tensor, physical_axis
from q8tool.engine.values import Declined, Value

__all__ = ["LOWERINGS", "lower_ends", "lower_histogram"]

# By name, because only ml_dtypes has bfloat16.
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_REDUCTIONS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceSumSquare": "sum_square",
    "ReduceL1": "sum",
    "ReduceL2": "sum_square",
    "ReduceLogSum": "sum",
}
# Functions of what is reduced, and of the result.
_BEFORE = {"ReduceL1": "abs"}
_BEHIND = {"ReduceL2": "sqrt", "ReduceLogSum": "log"}


def lower_softmax(lowering: Lowering, node: Node) -> None:
    """Over one axis; up to opset 12 over all dimensions from the axis on."""
    x, y = _float_input(lowering, node), lowering.output(node)
    is_log = node.op_type == "LogSoftmax"
    axis = int(node.attributes.get("axis", -1 if node.version >= 13 else 1))
    axis = axis + x.rank if axis < 0 else axis
    if node.version < 13 and axis != x.rank - 1:
        source = lowering.form(x, Layout.PLAIN)
        rows = (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
        target = lowering.new_form(y, Layout.PLAIN)
        _emit_softmax(lowering, source.view(rows), target.view(rows), is_log)
        return
    layout = lowering.layout_of(x)
    if (
        physical_axis(axis, x.rank, layout) != x.rank - 1
        and x.rank >= 3
        and axis in (1, x.rank - 1)
    ):
        layout = Layout.CHANNELS_LAST if axis == 1 else Layout.PLAIN
    source = lowering.form(x, layout)
    place = physical_axis(axis, x.rank, layout)
    if place == x.rank - 1:
        _emit_softmax(lowering, source, lowering.new_form(y, layout), is_log)
        return
    order = [d for d in range(x.rank) if d != place] + [place]
    turned = lowering.transposed(source, order)
    result = new_tensor(np.float32, turned.shape)
    _emit_softmax(lowering, turned, result, is_log)
    y.forms[layout] = lowering.transposed(result, [order.index(d) for d in range(x.rank)])


def _emit_softmax(lowering: Lowering, x: Tensor, y: Tensor, is_log: bool) -> None:
    lowering.emit("softmax_f32", {"x": x}, {"y": y}, log_softmax=is_log)


def lower_layer_norm(lowering: Lowering, node: Node) -> None:
    """Over the trailing dimensions, which are one row in memory."""
    x, scale, bias = (
        _float_input(lowering, node),
        lowering.input(node, 1),
        lowering.optional(node, 2),
    )
    axis = int(node.attributes.get("axis", -1)) % x.rank
    size = int(np.prod(x.shape[axis:]))
    if np.prod(scale.shape) != size:
        raise Declined("a scale that broadcasts has no C kernel")
    if bias is not None and np.prod(bias.shape) != size:
        raise Declined("a bias that broadcasts has no C kernel")
    source = lowering.form(x, Layout.PLAIN)
    rows = int(np.prod(x.shape[:axis]))
    reads: dict[str, Tensor | None] = {
        "x": source.view((rows, size)),
        "scale": lowering.form(scale, Layout.PLAIN).view((size,)),
        "bias": None if bias is None else lowering.form(bias, Layout.PLAIN).view((size,)),
    }
    arguments: dict[str, Any] = {"epsilon": float(node.attributes.get("epsilon", 1e-5))}
    writes: dict[str, Tensor] = {}
    name = lowering.output(node).name
    ends, params = shared_codes(lowering, name)
    if params is not None:
        lowering.absorb(ends)
        codes = new_tensor(np.uint8, x.shape)
        for end in ends:
            lowering.output(end).forms = {Layout.PLAIN: codes}
        writes["codes"] = codes.view((rows, size))
        arguments.update(code_scale=params.scale, code_zero_point=params.zero_point)
    if len(ends) < len(lowering.consumers(name)) or name in lowering.kept:
        y = lowering.new_form(lowering.output(node), Layout.PLAIN)
        writes["y"] = y.view((rows, size))
    lowering.emit("layer_norm_f32", reads, writes, **arguments)
    if any(node.outputs[1:]):
        _emit_deviation(lowering, node, source.view((rows, size)), arguments["epsilon"])


def _emit_deviation(lowering: Lowering, node: Node, x: Tensor, epsilon: float) -> None:
    """LayerNormalization's further outputs: mean and inverse deviation of every row of x."""
    rows, size = x.shape
    mean, squares, variance, deviation, inverse = (
        new_tensor(np.float32, (rows, 1)) for _ in range(5)
    )
    centred = new_tensor(np.float32, x.shape)
    view = {"outer": rows, "axis": size, "inner": 1}
    lowering.emit("reduce_f32", {"x": x}, {"y": mean}, op="mean", **view)
    lowering.emit("binary_f32", {"a": x, "b": mean}, {"y": centred}, op="sub")
    lowering.emit("reduce_f32", {"x": centred}, {"y": squares}, op="sum_square", **view)
    affine = {"op": "affine", "alpha": 1 / size, "beta": epsilon}
    lowering.emit("unary_f32", {"x": squares}, {"y": variance}, **affine)
    lowering.emit("unary_f32", {"x": variance}, {"y": deviation}, op="sqrt")
    lowering.emit("unary_f32", {"x": deviation}, {"y": inverse}, op="reciprocal")
    for name, tensor in zip(node.outputs[1:], (mean, inverse), strict=False):
        if name:
            value = lowering.value(name)
            value.forms = {Layout.PLAIN: tensor.view(value.shape)}


def lower_reduce(lowering: Lowering, node: Node) -> None:
    """One step per run of adjacent axes; a mean over the whole picture is a pooling."""
    x, y = _float_input(lowering, node), lowering.output(node)
    given = constant_input(lowering, node, 1, "axes")
    if given is None or not given.size:
        if node.attributes.get("noop_with_empty_axes", 0):
            if node.op_type in _BEFORE or node.op_type in _BEHIND:
                raise Declined(f"{node.op_type} of no axis has no C kernel")
            y.forms = dict(x.forms) or {Layout.PLAIN: lowering.form(x, Layout.PLAIN)}
            return
        given = np.arange(x.rank)
    axes = sorted(int(axis) % x.rank for axis in given.ravel())
    is_spatial = x.rank in (3, 4, 5) and axes in (
        [*range(2, x.rank)],
        [0, *range(2, x.rank)],
    )
    if node.op_type == "ReduceMean" and x.codes is not None:
        if lower_mean_of_codes(lowering, node, axes):
            return
        lowering.explain("no QuantizeLinear follows, or it is no pooling")
    layout = lowering.layout_of(x)
    tensor = lowering.form(x, layout)
    # ONNX order of the result is that of memory only if at most the channels remain of the picture.
    if layout is Layout.CHANNELS_LAST and not is_spatial and axes != list(range(x.rank)):
        layout = Layout.PLAIN
        tensor = lowering.form(x, layout)
    places = sorted(physical_axis(axis, x.rank, layout) for axis in axes)
    if node.op_type in _BEFORE:
        tensor = _function(lowering, _BEFORE[node.op_type], tensor)
    result = _reduced(lowering, _REDUCTIONS[node.op_type], tensor, places)
    if node.op_type in _BEHIND:
        result = _function(lowering, _BEHIND[node.op_type], result)
    y.forms[Layout.PLAIN] = result.view(y.shape)


def _function(lowering: Lowering, op: str, x: Tensor) -> Tensor:
    y = new_tensor(np.float32, x.shape)
    lowering.emit("unary_f32", {"x": x}, {"y": y}, op=op)
    return y


def _reduced(lowering: Lowering, op: str, x: Tensor, places: list[int]) -> Tensor:
    """x with the given physical axes reduced to 1, the last ones first."""
    while places:
        last = first = places.pop()
        while places and places[-1] == first - 1:
            first = places.pop()
        dims = x.shape
        y = new_tensor(np.float32, (*dims[:first], *[1] * (last + 1 - first), *dims[last + 1 :]))
        lowering.emit(
            "reduce_f32",
            {"x": x},
            {"y": y},
            op=op,
            **around_axis(dims, first, last),
        )
        # Squares are summed once; further axes add sums.
        op = "sum" if op == "sum_square" else op
        x = y
    return x


def lower_ends(lowering: Lowering, node: Node) -> None:
    """Of all values, in whatever order they lie."""
    x = _float_input(lowering, node)
    ends = lowering.new_form(lowering.output(node), Layout.PLAIN)
    lowering.emit("ends", {"x": lowering.form(x, lowering.layout_of(x))}, {"ends": ends})


def lower_histogram(lowering: Lowering, node: Node) -> None:
    """Counts of values, in whatever order they lie."""
    x, ends = _float_input(lowering, node), lowering.input(node, 1)
    if not ends.is_float:
        raise Declined("the ends are not float32")
    reads: dict[str, Tensor | None] = {
        "x": lowering.form(x, lowering.layout_of(x)),
        "ends": lowering.form(ends, Layout.PLAIN),
    }
    counts = lowering.new_form(lowering.output(node), Layout.PLAIN)
    lowering.emit("histogram", reads, {"counts": counts})


def lower_argmax(lowering: Lowering, node: Node) -> None:
    """Of floats, or of codes: a greater code stands for a greater value."""
    x, y = lowering.input(node, 0), lowering.output(node)
    is_least = node.op_type == "ArgMin"
    if is_least and not x.is_float:
        raise Declined(f"a minimum of {x.dtype} has no C kernel")
    codes = lowering.affine_codes(x) if x.is_float and not is_least else None
    source = x if codes is None else codes.source
    if not x.is_float and x.dtype not in (np.dtype(np.uint8), np.dtype(np.int8)):
        raise Declined(f"a maximum of {x.dtype} has no C kernel")
    axis = int(node.attributes.get("axis", 0)) % x.rank
    layout = lowering.layout_of(source)
    if axis != 1:
        layout = Layout.PLAIN
    tensor = lowering.form(source, layout)
    if is_least:
        tensor = _function(lowering, "neg", tensor)
    place = physical_axis(axis, x.rank, layout) if x.rank >= 3 else axis
    lowering.emit(
        "argmax",
        {"x": tensor},
        {"y": lowering.new_form(y, Layout.PLAIN)},
        **around_axis(tensor.shape, place),
        last_index=bool(node.attributes.get("select_last_index", 0)),
    )


def lower_cast(lowering: Lowering, node: Node) -> None:
    """Between integers, floats and truth values; to the same type it is a name."""
    x, y = lowering.input(node, 0), lowering.output(node)
    if x.dtype == y.dtype:
        if x.codes is not None:
            y.codes, y.deferred = x.codes, partial(_same_form, lowering, x, y)
            return
        _same_form(lowering, x, y)
        return
    if x.dtype == np.int8 and y.is_float:
        layout = lowering.layout_of(x)  # stored 128 higher
        reads: dict[str, Tensor | None] = {"x": lowering.form(x, layout)}
        writes = {"y": lowering.new_form(y, layout)}
        lowering.emit("dequantize", reads, writes, scale=1.0, zero_point=128)
        return
    from_float, to_float = (np.dtype(value.dtype).name in _FLOATS for value in (x, y))
    from_integer, to_integer = (value.dtype in INTEGERS for value in (x, y))
    if y.dtype == np.bool_ and (from_float or from_integer):
        _emit_truth(lowering, x, y)
        return
    if not (from_float or from_integer or x.dtype == np.bool_) or not (to_float or to_integer):
        raise Declined(f"a cast from {x.dtype} to {y.dtype} has no C kernel")
    is_stored = np.dtype(np.int8) in (x.dtype, y.dtype)
    layout = Layout.RAW if is_stored else lowering.layout_of(x)
    source = lowering.form(x, Layout.RAW if x.dtype == np.int8 else _plain(layout))
    target = lowering.new_form(y, Layout.RAW if y.dtype == np.int8 else _plain(layout))
    lowering.emit("cast", {"x": source}, {"y": target})


def _emit_truth(lowering: Lowering, x: Value, y: Value) -> None:
    """Whether elements differ from 0."""
    layout, (form,) = operand_forms(lowering, [x], x.rank)
    if form.dtype.name in ("float16", "bfloat16"):
        wide = new_tensor(np.float32, form.shape)
        lowering.emit("cast", {"x": form}, {"y": wide})
        form = wide
    zero = constant_tensor(np.zeros([1] * x.rank, form.dtype))
    is_zero = new_tensor(np.bool_, form.shape)
    lowering.emit("compare", {"a": form, "b": zero}, {"y": is_zero}, op="equal")
    false = constant_tensor(np.zeros([1] * x.rank, np.bool_))
    target = lowering.new_form(y, _plain(layout))
    lowering.emit("compare", {"a": is_zero, "b": false}, {"y": target}, op="equal")


def _plain(layout: Layout) -> Layout:
    """Of other types than int8, which has a third one."""
    return Layout.PLAIN if layout is Layout.RAW else layout


def _same_form(lowering: Lowering, x: Value, y: Value) -> None:
    lowering.form(x, lowering.layout_of(x))
    y.forms = x.forms


def _float_input(lowering: Lowering, node: Node) -> Value:
    x = lowering.input(node, 0)
    if not x.is_float:
        raise Declined("its input is not float32")
    if x.codes is not None:
        lowering.explain(f"{node.op_type} works in float")
    return x


LOWERINGS: dict[str, LoweringFunction] = {
    "Softmax": lower_softmax,
    "LogSoftmax": lower_softmax,
    "LayerNormalization": lower_layer_norm,
    **dict.fromkeys(_REDUCTIONS, lower_reduce),
    **dict.fromkeys(["ArgMax", "ArgMin"], lower_argmax),
    "Cast": lower_cast,
    "CastLike": lower_cast,
    "Ends": lower_ends,
    "Histogram": lower_histogram,
}
