"""Shapes and types of values: inferred from the inputs, dimensions fixed by name."""

import math
from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from q8tool.model.attribute_limits import has_absurd_attribute
from q8tool.model.graph import constant, has_subgraph
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

# Of sizes, that inference may follow.
_LONGEST_LIST = 1 << 20
# Of an input, that says what shape an output has.
_MOST_NUMBERS = 1024
# Their results are no tensors.
_SEQUENCE_OPS = frozenset(
    {
        "Optional",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
    }
)


def infer_shapes(model: ir.Model, *, through_values: bool = True) -> None:
    """Give every value the shape and type that follow from the inputs; never fails.

    through_values   follow sizes through shape arithmetic, as far as onnx knows how
    What onnx finds wins over what the file says (exporters leave stale shapes); where onnx finds
    nothing, what the file says stays. Symbolic dimensions keep the model's names.
    """
    probe = model.clone()
    for value in _computed(probe):
        if not value.is_graph_output():
            value.shape = None
    _infer(probe, through_values=False)
    # onnx walks lists element by element when it follows values: hours for a long one.
    if through_values and not any(_is_long(value.shape) for value in _computed(probe)):
        _infer(probe, through_values=True)
    names = frozenset(dimension_names(model))
    for value, inferred in zip(_computed(model), _computed(probe), strict=True):
        if _is_sequence(value):
            continue
        value.type = inferred.type or value.type
        value.shape = _merged(value.shape, inferred.shape, names)


def infer_outputs(model: ir.Model, node: ir.Node) -> bool:
    """Give a node's outputs the shapes that follow from its inputs as they are now; never fails.

    Returns whether that told more than was known. Nodes with subgraphs stay as they are, and those
    with an input of an unknown type.
    """
    version = model.opset_imports.get(node.domain)
    inputs = [value for value in node.inputs if value is not None]
    if version is None or has_subgraph(node):
        return False
    if not all(value.name and value.type for value in inputs):
        return False
    guard_inference()
    named = {value.name or "": value for value in inputs}
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, node.domain),
            ir.to_proto(node),
            {name: ir.to_proto(value).type for name, value in named.items()},
            _short_constants(named),
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()],
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return False
    names = frozenset(dimension_names(model))
    improved = [value for value in node.outputs if _improve(value, found, names)]
    return bool(improved)


def _short_constants(named: Mapping[str, ir.Value]) -> dict[str, onnx.TensorProto]:
    arrays = {name: constant(value) for name, value in named.items() if _has_few_elements(value)}
    return {
        name: onnx.numpy_helper.from_array(array)
        for name, array in arrays.items()
        if array is not None and array.size <= _MOST_NUMBERS and array.dtype.kind in "biuf"
    }


def _has_few_elements(value: ir.Value) -> bool:
    return value.const_value is None or value.const_value.size <= _MOST_NUMBERS


def _improve(value: ir.Value, found: Mapping[str, onnx.TypeProto], names: frozenset[str]) -> bool:
    """Put what was found about a value to what is known; True if that is more."""
    kind = found.get(value.name or "")
    if kind is None or not kind.HasField("tensor_type") or _is_sequence(value):
        return False
    before = value.shape
    value.type = ir.serde.deserialize_type_proto_for_type(kind) or value.type
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


def _infer(model: ir.Model, *, through_values: bool) -> None:
    guard_inference()
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=through_values)(model)
    for value in _computed(model):
        if _is_sequence(value) and not value.is_graph_output():
            # The pass takes them for tensors of their elements' type.
            value.type = value.shape = None


def _is_sequence(value: ir.Value) -> bool:
    producer, index = value.producer(), value.index()
    while producer is not None and producer.domain == "" and producer.op_type == "Identity":
        source = producer.inputs[0]
        if source is None:
            return False
        if _has_sequence_type(source):
            return True
        producer, index = source.producer(), source.index()
    if producer is None or producer.domain:
        return False
    return producer.op_type in _SEQUENCE_OPS or _leaves_body(producer, index or 0)


def _leaves_body(node: ir.Node, index: int) -> bool:
    """True if a body of the node says that this output is a sequence."""
    before = 1 if node.op_type == "Loop" else 0  # its body begins with whether to go on
    bodies = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    places = [body.outputs[index + before :] for body in bodies]
    return any(bool(rest) and _has_sequence_type(rest[0]) for rest in places)


def _has_sequence_type(value: ir.Value) -> bool:
    return isinstance(value.type, ir.SequenceType | ir.OptionalType)


def _is_long(shape: ir.Shape | None) -> bool:
    """True for what no list of sizes is as long as, and for shapes that no tensor can have."""
    is_list = shape is not None and len(shape) == 1
    sizes = [dim for dim in shape or () if isinstance(dim, int)]
    return _is_absurd(shape) or (is_list and math.prod(sizes) > _LONGEST_LIST)


def _is_absurd(shape: ir.Shape | None) -> bool:
    return is_absurd([dim if isinstance(dim, int) else 1 for dim in shape or ()])


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
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
    for graph in model.graphs():
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
