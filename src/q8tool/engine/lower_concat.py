"""Concat: each input is copied into its place, codes through a table where scales differ."""

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.epilogue import wanted_codes
from q8tool.engine.facts import Fact
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.strided import region_copied
from q8tool.engine.tensors import Layout, Tensor, new_tensor, physical_axis, physical_shape
from q8tool.engine.values import CodeParams, Codes, Declined, Value

__all__ = ["LOWERINGS"]


def lower_concat(lowering: Lowering, node: Node) -> None:
    """Codes where all inputs have them and somebody wants codes; else the values' own type."""
    values = [lowering.input(node, position) for position in range(len(node.inputs))]
    values = [value for value in values if 0 not in value.shape]
    y = lowering.output(node)
    axis = int(node.attributes.get("axis", 1))
    coded = [value.codes for value in values if value.codes is not None]
    if len(coded) == len(values):
        params = wanted_codes(lowering, y.name)
        if params is None and _all_same(coded):
            params = coded[0].grid
        if params is not None:
            _concat_codes(lowering, y, coded, params, axis)
            return
        lowering.explain("its inputs have different scales and no QuantizeLinear follows")
    elif coded:
        lowering.explain("one of its inputs is float")
    if len({value.dtype for value in values}) != 1:
        raise Declined("its inputs have different types")
    layout = lowering.layout_of(*values)
    tensors = [lowering.form(value, layout) for value in values]
    _concat(lowering, tensors, [None] * len(tensors), lowering.new_form(y, layout), axis, layout)


def _all_same(coded: list[Codes]) -> bool:
    """True if every input has the same scale and zero point."""
    first = coded[0].grid
    return all(codes.is_affine and codes.grid.same_meaning(first) for codes in coded)


def _concat_codes(
    lowering: Lowering, y: Value, coded: list[Codes], params: CodeParams, axis: int
) -> None:
    """y as codes of params; a QuantizeLinear that follows finds them."""
    sources = [codes.source for codes in coded]
    layout = lowering.layout_of(*sources)
    tensors = [lowering.form(source, layout) for source in sources]
    tables = []
    for codes in coded:
        table = params.codes(codes.table)
        tables.append(None if np.array_equal(table, np.arange(256)) else table)
    result = new_tensor(np.uint8, physical_shape(y.shape, layout))
    _concat(lowering, tensors, tables, result, axis, layout)
    source = Value(f"{y.name} codes", Fact(np.dtype(np.uint8), y.shape), {layout: result})
    y.codes = Codes(source, params)


def _concat(
    lowering: Lowering,
    tensors: list[Tensor],
    tables: list[NDArray[np.uint8] | None],
    y: Tensor,
    axis: int,
    layout: Layout,
) -> None:
    place = physical_axis(axis, len(y.shape), layout)
    starts = [0] * len(y.shape)
    for tensor, table in zip(tensors, tables, strict=True):
        region_copied(lowering, tensor, y, starts, table)
        starts[place] += tensor.shape[place]


LOWERINGS: dict[str, LoweringFunction] = {"Concat": lower_concat}
