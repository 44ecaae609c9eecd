"""What is known of every value before anything runs, for inputs of given shapes.

One walk over the graph: shapes and types by onnx's inference of each node, and values that depend
on nothing but constants and shapes. The latter are computed when somebody asks, so that weights
behind DequantizeLinear are not expanded for nothing, while shape arithmetic folds away.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from q8tool.engine.graph import Graph, Node
from q8tool.errors import InputError
from q8tool.ops.histogram import SHAPE as HISTOGRAM_SHAPE
from q8tool.ops.host import HostOperator
from q8tool.ops.registry import OWN_DOMAIN, RANDOM_OPS

__all__ = ["Fact", "known_facts"]

Array = NDArray[Any]
# Constants up to this size are shown to shape inference; those that matter are shapes and axes.
_SMALL = 1024
# Chains of so many foldable nodes are computed link by link: calls inside calls have a limit.
_DEEPEST = 40
# Operators whose result has the type and shape of their first input: no need to ask onnx.
_LIKE_FIRST_INPUT = frozenset(
    {
        "Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log",
        "Mish", "Neg", "PRelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus",
        "Sqrt", "Tanh",
    }
)  # fmt: skip
# Operators of whose float inputs the values say what shape comes out.
_SHAPED_BY_FLOATS = frozenset({"Range", "Resize", "Upsample"})


class Fact:
    """Type, shape and, for constants, the value of one tensor.

    dtype  None for sequences, maps and whatever inference does not know
    shape  None unless every dimension is known
    """

    def __init__(
        self,
        dtype: np.dtype[Any] | None,
        shape: tuple[int, ...] | None,
        read: Callable[[], Array] | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self._read = read
        self._array: Array | None = None

    @property
    def is_constant(self) -> bool:
        """True if the value depends on constants and shapes only."""
        return self._read is not None

    @property
    def is_small(self) -> bool:
        """True for constants that are cheap to compute and to look at."""
        return self.is_constant and self.shape is not None and math.prod(self.shape) <= _SMALL

    def array(self) -> Array:
        """The constant's value. Only if is_constant.

        Small values are kept; large ones are read again, so that a model's weights are never all
        in memory beside their packed form.
        """
        if self._array is not None:
            return self._array
        assert self._read is not None
        array = np.asarray(self._read())
        if self.is_small:
            self._array = array
        return array


def known_facts(
    graph: Graph,
    fed: Mapping[str, tuple[np.dtype[Any] | None, tuple[int, ...] | None]],
    known: Mapping[str, Array],
) -> dict[str, Fact]:
    """Facts of every value of the graph, by name.

    fed  type and shape of each input that the caller feeds, None for sequences and the like;
         constants of the same name give way
    known  values of some of those inputs, which become constants
    """
    facts = {name: Fact(dtype, shape) for name, (dtype, shape) in fed.items()}
    for name, array in known.items():
        facts[name] = Fact(array.dtype, array.shape, partial(np.asarray, array))
    makers: dict[str, _Folded] = {}
    for name, read in graph.constants.items():
        if name not in facts:
            facts[name] = Fact(*graph.constant_types[name], read)
    opset_imports = [helper.make_opsetid(d, v) for d, v in graph.opsets.items()]
    for node in graph.nodes:
        folded = _folded(graph, node, facts, makers)
        results = _results(node, folded, facts, opset_imports)
        for name, fact in zip(node.outputs, results, strict=True):
            if name:
                facts[name] = fact
                if folded is not None:
                    makers[name] = folded
    return facts


def _results(
    node: Node,
    folded: "_Folded | None",
    facts: dict[str, Fact],
    opset_imports: list[onnx.OperatorSetIdProto],
) -> list[Fact]:
    """What is known of the node's outputs, in their order."""
    alike = _like_first_input(node, facts)
    if alike is not None:
        read = None if folded is None else partial(folded.output, 0)
        return [_or_empty(Fact(alike.dtype, alike.shape, read))]
    is_told = folded is not None and _is_eager(node)
    types = {} if is_told else _inferred(node, facts, opset_imports)
    found = []
    for position, name in enumerate(node.outputs):
        fact = _output_fact(types.get(name), folded, position) if name else Fact(None, None)
        known = fact if fact.shape is not None else _without_rule(node, facts) or fact
        found.append(_or_empty(known))
    return found


def _or_empty(fact: Fact) -> Fact:
    """A tensor without elements is known before anything runs."""
    dtype, shape = fact.dtype, fact.shape
    if fact.is_constant or dtype is None or shape is None or 0 not in shape:
        return fact
    return Fact(dtype, shape, partial(np.zeros, shape, dtype))


def _is_eager(node: Node) -> bool:
    """Constants need no inference: their value says it all."""
    return node.op_type in ("Constant", "Shape", "Size")


def _folded(
    graph: Graph, node: Node, facts: dict[str, Fact], makers: "Mapping[str, _Folded]"
) -> "_Folded | None":
    """The node's outputs as constants, or None if they depend on more than that.

    makers  of those constants that are folded themselves
    """
    if node.op_type in RANDOM_OPS or node.domain not in ("", "ai.onnx.ml"):
        return None
    read = [facts[name] for name in node.reads]
    if node.op_type in ("Shape", "Size") and read[0].shape is not None:
        # Only the shape counts: an empty view of the right shape stands for the tensor.
        shape = read[0].shape
        read = [Fact(np.dtype(np.uint8), shape, lambda: np.broadcast_to(np.uint8(0), shape))]
    if not all(fact.is_constant for fact in read):
        return None
    return _Folded(graph, node, read, [makers[name] for name in node.reads if name in makers])


class _Folded:
    """Runs a node of constants when one of its outputs is asked for.

    Keeps small results, and those that another such node reads: else a graph in which constants
    are made of constants would be computed again for every way through it.
    """

    def __init__(
        self, graph: Graph, node: Node, inputs: list[Fact], before: "list[_Folded]"
    ) -> None:
        self._graph, self._node, self._inputs = graph, node, inputs
        self._outputs: list[Any] | None = None
        self._is_kept = False
        self._depth: int = 1 + max((maker._depth for maker in before), default=0)
        for maker in before:
            maker._is_kept = True
        if self._depth > _DEEPEST:
            self._depth = 1
            for maker in before:
                maker.output(0)

    def output(self, position: int) -> Array:
        if self._outputs is not None:
            return np.asarray(self._outputs[position])
        operator = HostOperator(self._node.proto, self._node.reads, self._graph.opsets)
        results = operator.run([fact.array() for fact in self._inputs])
        named = iter(results)
        outputs = [next(named) if name else None for name in self._node.outputs]
        if self._is_kept or sum(np.size(result) for result in results) <= _SMALL:
            self._outputs = outputs
        return np.asarray(outputs[position])


def _output_fact(proto: onnx.TypeProto | None, folded: _Folded | None, position: int) -> Fact:
    dtype, shape = _described(proto)
    if folded is None:
        return Fact(dtype, shape)
    if dtype is None or shape is None:
        array = folded.output(position)
        return Fact(array.dtype, array.shape, lambda: array)
    return Fact(dtype, shape, lambda: folded.output(position))


def _described(proto: onnx.TypeProto | None) -> tuple[np.dtype[Any] | None, tuple[int, ...] | None]:
    """Type and shape of an inferred type; None for what it leaves open."""
    if proto is None or not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return None, None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type))
    if not proto.tensor_type.HasField("shape"):
        return dtype, None
    dims = proto.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return dtype, None
    return dtype, tuple(dim.dim_value for dim in dims)


def _inferred(
    node: Node, facts: dict[str, Fact], opset_imports: list[onnx.OperatorSetIdProto]
) -> dict[str, onnx.TypeProto]:
    """Types of the node's outputs as far as onnx infers them from this node alone."""
    if any(facts[name].dtype is None for name in node.reads):
        return {}
    try:
        schema = onnx.defs.get_schema(node.op_type, node.version, node.domain)
        types = {name: _type_proto(facts[name]) for name in node.reads}
        data = {
            name: numpy_helper.from_array(facts[name].array(), name)
            for name in node.reads
            if facts[name].is_small and _shapes_results(node, facts[name])
        }
        return dict(
            shape_inference.infer_node_outputs(
                schema, node.proto, types, data, opset_imports=opset_imports
            )
        )
    except (
        shape_inference.InferenceError, onnx.checker.ValidationError, onnx.defs.SchemaError,
        InputError, RuntimeError,
    ):  # fmt: skip
        return {}


def _shapes_results(node: Node, fact: Fact) -> bool:
    """Whether the result's shape may depend on the values of this input."""
    assert fact.dtype is not None
    if fact.dtype == np.dtype(object):
        return False
    return fact.dtype.kind != "f" or node.op_type in _SHAPED_BY_FLOATS


def _like_first_input(node: Node, facts: Mapping[str, Fact]) -> Fact | None:
    """The result's fact where it follows from the first input's type and shape alone."""
    if node.domain or len(node.outputs) != 1 or not node.inputs or not node.inputs[0]:
        return None
    first = facts[node.inputs[0]]
    if first.dtype is None or first.shape is None:
        return None
    if node.op_type in _LIKE_FIRST_INPUT:
        return Fact(first.dtype, first.shape)
    if "output_dtype" in node.attributes:
        return None
    if node.op_type == "DequantizeLinear":
        return Fact(facts[node.inputs[1]].dtype, first.shape)
    if node.op_type == "QuantizeLinear":
        zero_point = node.input(2)
        return Fact(facts[zero_point].dtype if zero_point else np.dtype(np.uint8), first.shape)
    return None


def _without_rule(node: Node, facts: dict[str, Fact]) -> Fact | None:
    """Of operators for which onnx infers nothing: functions of its own, and ours."""
    if (node.domain, node.op_type) == (OWN_DOMAIN, "Histogram"):
        return Fact(np.dtype(np.int64), HISTOGRAM_SHAPE)
    read = [facts[name] for name in node.reads]
    shapes = [fact.shape for fact in read if fact.shape is not None]
    if node.domain or len(shapes) < len(read):
        return None
    if node.op_type in ("GroupNormalization", "MeanVarianceNormalization"):
        return Fact(read[0].dtype, shapes[0])
    if node.op_type in ("GreaterOrEqual", "LessOrEqual"):
        return Fact(np.dtype(np.bool_), np.broadcast_shapes(*shapes))
    return None


def _type_proto(fact: Fact) -> onnx.TypeProto:
    assert fact.dtype is not None
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(fact.dtype), fact.shape)
