"""Shapes and types of values: inferred from the inputs, dimensions fixed by name."""

from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir

from q8tool.model.attribute_limits import has_absurd_attribute
from q8tool.model.graph import all_graphs, bodies
from q8tool.model.inference import inferred_types, short_constant
from q8tool.model.limits import is_absurd
from q8tool.model.sound_inference import guard_inference

__all__ = [
    "absurd_value",
    "dimension_names",
    "fill_output_shapes",
    "fix_dimensions",
    "infer_outputs",
    "infer_shapes",
    "static_shape",
]


def infer_shapes(model: ir.Model, *, through_values: bool = True) -> None:
    """Give every value the shape and type that follow from the inputs; never fails.

    through_values   follow sizes through shape arithmetic, as far as onnx knows how
    What onnx finds wins over what the file says (exporters leave stale shapes); where onnx finds
    nothing, what the file says stays. Symbolic dimensions keep the model's names.
    """
    names = frozenset(dimension_names(model))
    for value, kind in inferred_types(model, through_values=through_values):
        _improve(value, kind, names)


def infer_outputs(model: ir.Model, node: ir.Node) -> bool:
    """Give a node's outputs the shapes that follow from its inputs as they are now; never fails.

    Returns whether that told more than was known. Nodes with subgraphs stay as they are, and those
    with an input of an unknown type.
    """
    version = model.opset_imports.get(node.domain)
    inputs = [value for value in node.inputs if value is not None]
    if version is None or bodies(node):
        return False
    if not all(value.name and value.type for value in inputs):
        return False
    guard_inference()
    constants = {value.name or "": short_constant(value) for value in inputs}
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, node.domain),
            ir.to_proto(node),
            {value.name or "": ir.to_proto(value).type for value in inputs},
            {name: numbers for name, numbers in constants.items() if numbers is not None},
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()],
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return False
    names = frozenset(dimension_names(model))
    kinds = [(value, found.get(value.name or "")) for value in node.outputs]
    improved = [value for value, kind in kinds if kind and _improve(value, kind, names)]
    return bool(improved)


def _improve(value: ir.Value, kind: onnx.TypeProto, names: frozenset[str]) -> bool:
    """Put what was found about a value to what is known; True if that is more."""
    if not kind.tensor_type.elem_type:
        return False
    before = value.shape
    value.type = ir.serde.deserialize_type_proto_for_type(kind)
    value.shape = _merged(before, ir.serde.deserialize_type_proto_for_shape(kind), names)
    return value.shape != before


def fill_output_shapes(proto: onnx.ModelProto) -> bool:
    """Give outputs without a shape, which the standard wants, the inferred one; True if any got it.

    Runtimes take such files, and some exporters write them.
    """
    bare = [value for value in proto.graph.output if not value.type.tensor_type.HasField("shape")]
    if not bare or has_absurd_attribute(proto):
        return False
    guard_inference()
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return False
    found = {value.name: value.type for value in inferred.graph.output}
    known = [value for value in bare if found[value.name].tensor_type.HasField("shape")]
    for value in known:
        value.type.CopyFrom(found[value.name])
    return bool(known)


def absurd_value(model: ir.Model) -> ir.Value | None:
    """A value whose declared or inferred shape no tensor can have; None if there is none.

    That is a negative dimension, more than 2**40 elements or more dimensions than numpy has.
    """
    values = [*model.graph.inputs, *_computed(model)]
    return next((value for value in values if _is_absurd(value.shape)), None)


def _is_absurd(shape: ir.Shape | None) -> bool:
    return is_absurd([dim if isinstance(dim, int) else 1 for dim in shape or ()])


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    for graph in all_graphs(model):
        for node in graph:
            yield from node.outputs


def _merged(
    declared: ir.Shape | None, inferred: ir.Shape | None, names: frozenset[str]
) -> ir.Shape | None:
    if inferred is None:
        return declared
    if declared is None or len(declared) != len(inferred):
        return ir.Shape([_named(dim, names) for dim in inferred])
    return ir.Shape(
        [
            new if isinstance(new, int) else _plain(old) or _named(new, names)
            for old, new in zip(declared, inferred, strict=True)
        ]
    )


def _plain(dim: int | ir.SymbolicDim) -> int | str | None:
    return dim if isinstance(dim, int) else dim.value


def _named(dim: int | ir.SymbolicDim, names: frozenset[str]) -> int | str | None:
    """The dimension, without the names that onnx makes up while inferring (unk__0)."""
    plain = _plain(dim)
    return plain if isinstance(plain, int) or plain in names else None


def dimension_names(model: ir.Model) -> list[str]:
    """Names of the symbolic dimensions of the graph inputs, in order of appearance."""
    names: dict[str, None] = {}
    for value in model.graph.inputs:
        for dim in value.shape or ():
            if not isinstance(dim, int) and dim.value:
                names[dim.value] = None
    return list(names)


def fix_dimensions(model: ir.Model, sizes: Mapping[str, int]) -> list[str]:
    """Replace symbolic dimensions by numbers wherever they are named.

    Other shapes do not follow by themselves: call infer_shapes. Returns the names of the graph
    inputs that changed.
    """
    changed = []
    for graph in all_graphs(model):
        values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
        for value in values:
            if value.shape is None or not any(_size(dim, sizes) for dim in value.shape):
                continue
            value.shape = ir.Shape([_size(dim, sizes) or dim for dim in value.shape])
            if graph is model.graph and value.is_graph_input():
                changed.append(value.name or "")
    return changed


def _size(dim: int | ir.SymbolicDim, sizes: Mapping[str, int]) -> int | None:
    return None if isinstance(dim, int) or dim.value is None else sizes.get(dim.value)


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape in numbers, or None as long as a dimension is unknown or symbolic."""
    if value is None or value.shape is None:
        return None
    dims: Sequence[int | ir.SymbolicDim] = value.shape.dims
    if not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(int(dim) for dim in dims if isinstance(dim, int))
