"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

DequantizeLinear of one scale makes no step: it says what the codes stand for. QuantizeLinear of a
value that exists as codes makes a table, or nothing where the codes are the wanted ones already.
"""

import numpy as np

from q8tool.engine.finishing import found_range
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import new_tensor
from q8tool.engine.values import Codes, Declined, QuantizedConstant

__all__ = ["LOWERINGS", "note_quantized_constants"]


def note_quantized_constants(lowering: Lowering) -> None:
    """Lets weights and biases behind DequantizeLinear keep their codes beside the floats."""
    for node in lowering.graph.nodes:
        if node.op_type != "DequantizeLinear" or node.domain or node.attributes.get("block_size"):
            continue
        value, codes = lowering.output(node), lowering.value(node.input(0))
        others = [lowering.value(name) for name in node.inputs[1:] if name]
        if not codes.is_constant or not all(other.is_constant for other in others):
            continue
        if codes.dtype not in (np.int8, np.uint8, np.int32) or not value.is_float:
            continue
        scale = np.asarray(others[0].fact.array(), np.float32)
        if scale.ndim > 1:
            continue
        zero_point = np.zeros(scale.shape, np.int32)
        if len(others) > 1:
            if others[1].dtype != codes.dtype:
                continue
            zero_point = others[1].fact.array().astype(np.int32)
        axis = int(node.attributes.get("axis", 1)) if scale.size > 1 else None
        if axis is not None and axis < 0 and codes.fact.shape is not None:
            axis += len(codes.fact.shape)
        value.quantized = QuantizedConstant(codes.fact, scale.ravel(), zero_point.ravel(), axis)
        params = None if codes.dtype == np.int32 else lowering.code_params(node)
        if params is not None:
            value.codes = Codes(codes, params)


def lower_dequantize(lowering: Lowering, node: Node) -> None:
    """Codes with one scale become the value's form; nothing is computed until floats are needed."""
    source, value = lowering.input(node, 0), lowering.output(node)
    params = lowering.code_params(node)
    if params is None:
        from q8tool.engine.lower_conversion import dequantize_in_parts

        dequantize_in_parts(lowering, node)
        return
    if not value.is_float:
        raise Declined("its result is not float32")
    value.codes = Codes(source, params)


def lower_quantize(lowering: Lowering, node: Node) -> None:
    """Floats to codes, or codes to codes through a table, or a new name for the same codes."""
    x, y = lowering.input(node, 0), lowering.output(node)
    params = lowering.code_params(node)
    if params is None:
        from q8tool.engine.lower_conversion import quantize_in_parts

        quantize_in_parts(lowering, node)
        return
    if not x.is_float:
        raise Declined("its input is not float32")
    codes = x.codes
    if codes is not None and codes.is_affine and codes.grid.same_meaning(params):
        if not codes.source.forms:
            lowering.form(codes.source, lowering.layout_of(codes.source))
        y.forms = codes.source.forms
        return
    layout = lowering.layout_of(x)
    if codes is not None:
        layout = lowering.layout_of(codes.source)
        source = lowering.form(codes.source, layout)
        table = params.codes(codes.table)
        lowering.emit("table", {"x": source}, {"y": lowering.new_form(y, layout)}, table=table)
        return
    source = lowering.form(x, layout)
    target = lowering.new_form(y, layout)
    lowering.emit(
        "quantize", {"x": source}, {"y": target}, scale=params.scale, zero_point=params.zero_point
    )


def lower_dynamic_quantize(lowering: Lowering, node: Node) -> None:
    """Codes, scale and zero point of the data itself."""
    x = lowering.input(node, 0)
    if not x.is_float:
        raise Declined("its input is not float32")
    layout = lowering.layout_of(x)
    source = lowering.form(x, layout)
    scalars = []
    for position, dtype in ((1, np.float32), (2, np.uint8)):
        name = node.outputs[position] if position < len(node.outputs) else ""
        if name:
            scalars.append(lowering.new_form(lowering.value(name), layout))
        else:
            scalars.append(new_tensor(dtype, ()))
    y = lowering.new_form(lowering.output(node), layout)
    writes = {"y": y, "scale": scalars[0], "zero_point": scalars[1]}
    reads = {"x": source, "x_range": found_range(lowering, source)}
    lowering.emit("dynamic_quantize", reads, writes)


LOWERINGS: dict[str, LoweringFunction] = {
    "QuantizeLinear": lower_quantize,
    "DequantizeLinear": lower_dequantize,
    "DynamicQuantizeLinear": lower_dynamic_quantize,
}
