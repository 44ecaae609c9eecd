"""What is known of every value before anything runs, for inputs of given shapes.

One walk over the graph: shapes and types by the rules of the standard (shape_rules.py) or by onnx's
own inference of a node (onnx_inference.py), and values that depend on nothing but constants and
shapes. The latter are computed when somebody asks, so that weights
behind DequantizeLinear are not expanded for nothing, while shape arithmetic folds away.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.evaluation import evaluated_simply
from q8tool.engine.graph import Graph, Node
from q8tool.engine.shape_rules import types_by_rule
from q8tool.errors import UnsupportedError
from q8tool.model.limits import most_bytes
from q8tool.numerics import ends, histogram
from q8tool.ops.registry import OWN_DOMAIN, RANDOM_OPS

__all__ = ["Fact", "allowed_bytes", "known_facts"]

Array = NDArray[Any]
Described = tuple[np.dtype[Any] | None, tuple[int, ...] | None]
# Constants up to this size are shown to shape inference; those that matter are shapes and axes.
_SMALL = 1024
# Chains of so many foldable nodes are computed link by link: calls inside calls have a limit.
_DEEPEST = 40
# Operators whose result has the type and shape of their first input: no need to ask onnx.
_LIKE_FIRST_INPUT = frozenset(
    {
        "Abs", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
        "HardSwish", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "PRelu", "Reciprocal", "Relu",
        "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt",
        "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
# Attributes of Constant whose values have a type of their own.
_CONSTANT_TYPES = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
    "value_ints": np.int64,
}  # fmt: skip


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
        # Inference follows absurd attributes to negative sizes: the node itself will refuse them.
        self.shape = None if shape and min(shape) < 0 else shape
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
    *,
    waits: bool = False,
) -> dict[str, Fact]:
    """Facts of every value of the graph, by name.

    fed  type and shape of each input that the caller feeds, None for sequences and the like;
         constants of the same name give way
    known  values of some of those inputs, which become constants
    waits  nothing is found out about what lies behind shapes that only the run tells
    """
    facts = {name: Fact(dtype, shape) for name, (dtype, shape) in fed.items()}
    for name, array in known.items():
        facts[name] = Fact(array.dtype, array.shape, partial(np.asarray, array))
    makers: dict[str, _Folded] = {}
    for name, read in graph.constants.items():
        if name not in facts:
            facts[name] = Fact(*graph.constant_types[name], read)
    most = allowed_bytes(facts.values())
    unknown: set[str] = set()
    for node in graph.nodes:
        if waits and not unknown.isdisjoint(node.reads):
            unknown.update(filter(None, node.outputs))
            facts.update((name, Fact(None, None)) for name in node.outputs if name)
            continue
        folded = _folded(graph, node, facts, makers)
        results = _results(graph, node, folded, facts)
        for name, fact in zip(node.outputs, results, strict=True):
            if name:
                _refuse_huge(node, name, fact, most)
                facts[name] = fact
                if folded is not None:
                    makers[name] = folded
                elif fact.shape is None:
                    unknown.update(filter(None, node.outputs))
    return facts


def allowed_bytes(given: Iterable[Fact]) -> int:
    """How large one value, or what one step writes, may be: see model/limits.

    given  of what the caller feeds and the constants
    """
    return most_bytes(sum(_size(fact.dtype, fact.shape) for fact in given))


def _refuse_huge(node: Node, name: str, fact: Fact, most: int) -> None:
    """Raises UnsupportedError for a value of more than so many bytes."""
    size = _size(fact.dtype, fact.shape)
    if size > most:
        raise UnsupportedError(
            f"node '{node.name}' ({node.op_type}): its result '{name}', {fact.dtype}"
            f"{list(fact.shape or ())}, would take {size:,} bytes; at most {most:,} may come of "
            "this input, these weights and this machine's memory"
        )


def _size(dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> int:
    """Bytes of a tensor, 0 where nobody knows. Empty dimensions count as 1, as numpy counts."""
    if dtype is None or shape is None:
        return 0
    elements = math.prod(shape) or math.prod(max(dim, 1) for dim in shape)
    return elements * dtype.itemsize


def _results(
    graph: Graph, node: Node, folded: "_Folded | None", facts: dict[str, Fact]
) -> list[Fact]:
    """What is known of the node's outputs, in their order."""
    alike = _like_first_input(node, facts)
    if alike is not None:
        read = None if folded is None else partial(folded.output, 0)
        return [_or_empty(Fact(alike.dtype, alike.shape, read))]
    found = []
    types = _types(graph, node, folded, facts)
    for position, (name, described) in enumerate(zip(node.outputs, types, strict=True)):
        fact = _output_fact(described, folded, position) if name else Fact(None, None)
        known = fact if fact.shape is not None else _unknown_to_onnx(node, facts) or fact
        found.append(_or_empty(known))
    return found


def _types(
    graph: Graph, node: Node, folded: "_Folded | None", facts: dict[str, Fact]
) -> Sequence[Described]:
    """Types and shapes of the node's outputs, as far as anybody infers them."""
    if folded is not None and _is_eager(node):
        return [(None, None)] * len(node.outputs)
    ruled = types_by_rule(node, facts)
    if ruled is not None:
        return ruled
    from q8tool.engine.onnx_inference import inferred_by_onnx

    inferred = inferred_by_onnx(node, facts, graph.opsets)
    return [inferred.get(name, (None, None)) for name in node.outputs]


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
        results = _plain_results(self._node, self._inputs) or self._computed()
        named = iter(results)
        outputs = [next(named) if name else None for name in self._node.outputs]
        if self._is_kept or sum(np.size(result) for result in results) <= _SMALL:
            self._outputs = outputs
        return np.asarray(outputs[position])

    def _computed(self) -> list[Any]:
        inputs = [fact.array() for fact in self._inputs]
        simple = evaluated_simply(self._node, inputs)
        if simple is not None:
            return simple
        from q8tool.ops.host import HostOperator

        operator = HostOperator(self._node.proto, self._node.reads, self._graph.opsets)
        return operator.run(inputs)


def _plain_results(node: Node, inputs: Sequence[Fact]) -> list[Array] | None:
    """What a node gives that needs no arithmetic: numbers of its own, or of a shape."""
    given = dict(node.attributes)
    if node.op_type == "Constant" and len(given) == 1:
        ((name, value),) = given.items()
        if isinstance(value, np.ndarray) or name in _CONSTANT_TYPES:
            return [np.asarray(value, _CONSTANT_TYPES.get(name))]
    if node.op_type == "Shape" and inputs[0].shape is not None:
        dims = inputs[0].shape[given.get("start", 0) : given.get("end")]
        return [np.asarray(dims, np.int64)]
    return None


def _output_fact(described: Described, folded: _Folded | None, position: int) -> Fact:
    dtype, shape = described
    if folded is None:
        return Fact(dtype, shape)
    if dtype is None or shape is None or min(shape, default=0) < 0:
        array = folded.output(position)
        return Fact(array.dtype, array.shape, lambda: array)
    return Fact(dtype, shape, lambda: folded.output(position))


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


def _unknown_to_onnx(node: Node, facts: dict[str, Fact]) -> Fact | None:
    """Of operators for which onnx infers nothing: functions of its own, and ours."""
    if (node.domain, node.op_type) == (OWN_DOMAIN, "Ends"):
        return Fact(np.dtype(np.float32), ends.SHAPE)
    if (node.domain, node.op_type) == (OWN_DOMAIN, "Histogram"):
        return Fact(np.dtype(np.int64), (histogram.BINS,))
    read = [facts[name] for name in node.reads]
    shapes = [fact.shape for fact in read if fact.shape is not None]
    if node.domain or not read or len(shapes) < len(read):
        return None
    if node.op_type in ("GroupNormalization", "MeanVarianceNormalization"):
        return Fact(read[0].dtype, shapes[0])
    return None
