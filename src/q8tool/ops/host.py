"""Runs single nodes on the host: onnx.reference's operators, and ours where its rules differ."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from q8tool.errors import InputError, UnsupportedError
from q8tool.model.limits import most_bytes
from q8tool.ops.along_axis import Hardmax, LogSoftmax, Softmax
from q8tool.ops.budget import OverBudget, allowed_seconds, within
from q8tool.ops.convolution import Conv, ConvInteger, QLinearConv
from q8tool.ops.deformable import DeformConv
from q8tool.ops.detection import GatherElements, NonMaxSuppression
from q8tool.ops.empty import empty_results
from q8tool.ops.histogram import Ends, Histogram
from q8tool.ops.loop import Loop
from q8tool.ops.normalization import LRN, BatchNormalization, LpNormalization
from q8tool.ops.optional import Optional
from q8tool.ops.pooling import AveragePool, GlobalLpPool, LpPool, MaxPool, MaxRoiPool
from q8tool.ops.products import MatMulInteger, QLinearMatMul
from q8tool.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from q8tool.ops.recurrent import GRU, LSTM, RNN
from q8tool.ops.regions import RoiAlign
from q8tool.ops.regular_expression import RegexFullMatch
from q8tool.ops.sampling import GridSample
from q8tool.ops.scatter import Scatter, ScatterElements, ScatterND
from q8tool.ops.simple import SIMPLE, simple_results
from q8tool.ops.spectrum import STFT
from q8tool.ops.transposed import Col2Im, ConvTranspose
from q8tool.ops.unique import Unique

__all__ = ["HostOperator", "shared_operator"]

_OWN_OPERATORS: list[type[OpRun]] = [
    AveragePool,
    BatchNormalization,
    Col2Im,
    Conv,
    ConvInteger,
    ConvTranspose,
    DeformConv,
    DequantizeLinear,
    DynamicQuantizeLinear,
    Ends,
    GRU,
    GatherElements,
    GlobalLpPool,
    GridSample,
    Hardmax,
    Histogram,
    LRN,
    LSTM,
    LogSoftmax,
    Loop,
    LpNormalization,
    LpPool,
    MatMulInteger,
    MaxPool,
    MaxRoiPool,
    NonMaxSuppression,
    Optional,
    QLinearConv,
    QLinearMatMul,
    QuantizeLinear,
    RNN,
    RegexFullMatch,
    STFT,
    RoiAlign,
    Scatter,
    ScatterElements,
    ScatterND,
    Softmax,
    Unique,
]


class HostOperator:
    """One node, ready to run on arrays again and again.

    node     the node, with its subgraphs
    names    every value it reads, those that its subgraphs capture included
    opsets   domain -> version of the model

    Raises UnsupportedError if no operator of that name is implemented.
    """

    def __init__(self, node: NodeProto, names: Sequence[str], opsets: Mapping[str, int]) -> None:
        self._node = node
        self._names = list(names)
        self._opsets = dict(opsets)
        self._node_bytes = node.ByteSize()
        self._attributes = _simple_attributes(node)
        # Made without input types first, which is enough to learn that an operator is unknown.
        self._evaluator = self._make([ValueInfoProto(name=name) for name in names])
        self._is_typed = False

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Outputs for the inputs, in the order of `names`; arrays, or lists for sequences.

        Raises InputError if the operator refuses these inputs, UnsupportedError if it takes longer
        than what it reads is worth (budget.py).
        """
        nbytes = self._node_bytes + sum(_nbytes(value) for value in inputs)
        if any(_is_endless(value) for value in inputs):
            raise InputError(
                f"node '{self._node.name}' ({self._node.op_type}): an input without elements is "
                "too large in its other dimensions"
            )
        simple = self._simple_results(inputs)
        if simple is not None:
            return simple
        if not self._is_typed:
            described = [_described(n, v) for n, v in zip(self._names, inputs, strict=True)]
            self._refuse_huge_values(described, most_bytes(nbytes))
            self._evaluator = self._make(described)
            self._is_typed = True
        feeds = dict(zip(self._names, inputs, strict=True))
        seconds = allowed_seconds(nbytes, self._node.op_type)
        try:
            with np.errstate(all="ignore"), within(seconds):
                return list(self._evaluator.run(None, feeds))
        except OverBudget:
            raise self._too_slow(seconds, nbytes) from None
        except Exception as error:
            empty = empty_results(self._node, self._names, inputs, self._opsets)
            if empty is not None:
                return empty
            raise InputError(
                f"node '{self._node.name}' ({self._node.op_type}) failed: {_first_line(error)}"
            ) from error

    def _simple_results(self, inputs: Sequence[Any]) -> list[Any] | None:
        """What one call of numpy gives; None where that is not all there is to the node.

        The evaluator takes several times as long for it.
        """
        if self._attributes is None or not all(isinstance(v, np.ndarray) for v in inputs):
            return None
        fed = dict(zip(self._names, inputs, strict=True))
        given = [fed.get(name) for name in self._node.input]
        try:
            return simple_results(self._node.op_type, self._attributes, given)
        except MemoryError:
            return None

    def _refuse_huge_values(self, inputs: Sequence[ValueInfoProto], most: int) -> None:
        """Raises UnsupportedError if a body computes a value of more bytes, as far as onnx infers.

        Nobody else looks at the values inside of bodies.
        """
        bodies = [attribute.g for attribute in self._node.attribute if attribute.HasField("g")]
        if not bodies:
            return
        graph = self._graph(inputs)
        imports = [helper.make_opsetid(*item) for item in self._opsets.items()]
        from q8tool.model.inference import inferred  # loads onnx_ir

        try:
            model = helper.make_model(graph, opset_imports=imports)
            known = inferred(model, through_values=True).graph
        except Exception:  # whatever onnx says against it, the run will say
            return
        for value in _inner_values(known):
            tensor = value.type.tensor_type
            dims = [max(dim.dim_value, 1) for dim in tensor.shape.dim]
            if math.prod(dims) * _item_size(tensor.elem_type) > most:
                raise UnsupportedError(
                    f"node '{self._node.name}' ({self._node.op_type}): value '{value.name}' of its "
                    f"body, of shape {dims}, would take more than {most:,} bytes"
                )

    def _graph(self, inputs: Sequence[ValueInfoProto]) -> GraphProto:
        outputs = [ValueInfoProto(name=name) for name in self._node.output if name]
        return helper.make_graph([self._node], "node", inputs, outputs)

    def _make(self, inputs: list[ValueInfoProto]) -> ReferenceEvaluator:
        seconds = allowed_seconds(self._node_bytes)
        try:
            with within(seconds):
                return ReferenceEvaluator(
                    self._graph(inputs),
                    opsets=self._opsets,
                    new_ops=list(_OWN_OPERATORS),
                )
        except OverBudget:
            raise self._too_slow(seconds, self._node_bytes) from None
        except Exception as error:
            raise self._refusal(error) from error

    def _too_slow(self, seconds: float, nbytes: int) -> UnsupportedError:
        return UnsupportedError(
            f"node '{self._node.name}' ({self._node.op_type}) takes too long: more than "
            f"{seconds:.0f} s for the {nbytes} bytes that it reads"
        )

    def _refusal(self, error: Exception) -> UnsupportedError:
        """What to say of a node for which onnx.reference has no operator."""
        domain = self._node.domain or "ai.onnx"
        text = f"node '{self._node.name}': operator {self._node.op_type} of domain {domain}"
        if not isinstance(error, NotImplementedError | RuntimeError):
            return UnsupportedError(f"{text} cannot be set up: {_first_line(error)}")
        hint = ""
        if domain.startswith("com.microsoft"):
            hint = "onnxruntime's own operators are not standard: export the model without them"
        return UnsupportedError(f"{text} is not implemented", hint)


# numpy multiplies matrices without elements one by one.
_MOST_EMPTY_LINES = 1 << 26
# More than one call of numpy for each of their elements, or of unknown size.
_NOT_SIMPLE = frozenset({"ConstantOfShape", "Erf", "Expand"})


def _simple_attributes(node: NodeProto) -> dict[str, Any] | None:
    """Attributes of a node that may be simple; None of any other."""
    if node.domain or node.op_type not in SIMPLE - _NOT_SIMPLE or len(node.output) != 1:
        return None
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def shared_operator(
    node: NodeProto, names: Sequence[str], opsets: Mapping[str, int], inputs: Sequence[Any]
) -> HostOperator:
    """An operator for nodes without subgraphs that is made once for all nodes like this one.

    inputs  arrays of the types and shapes that it will be run on
    """
    plain = NodeProto()
    plain.CopyFrom(node)
    numbers = {name: f"x{position}" for position, name in enumerate(names)}
    plain.name, plain.doc_string = node.op_type, ""
    plain.input[:] = [numbers.get(name, "") for name in node.input]
    plain.output[:] = [f"y{position}" for position in range(len(node.output))]
    kinds = tuple((np.asarray(value).dtype.str, np.shape(value)) for value in inputs)
    return _shared(plain.SerializeToString(), len(names), tuple(opsets.items()), kinds)


@functools.lru_cache(maxsize=256)
def _shared(
    node: bytes, count: int, opsets: tuple[tuple[str, int], ...], kinds: Any
) -> HostOperator:
    names = [f"x{position}" for position in range(count)]
    return HostOperator(NodeProto.FromString(node), names, dict(opsets))


def _described(name: str, value: Any) -> ValueInfoProto:
    """Name, type and shape of an array; other kinds of values stay undescribed."""
    if not isinstance(value, np.ndarray):
        return ValueInfoProto(name=name)
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
    )


def _inner_values(graph: GraphProto) -> Iterator[ValueInfoProto]:
    """Values of the graph and of bodies inside it, whose types are known."""
    yield from graph.value_info
    yield from graph.output
    for node in graph.node:
        for attribute in node.attribute:
            yield from _inner_values(attribute.g)


def _item_size(data_type: int) -> int:
    """Bytes of an element; 0 of a type that has no size, or is unknown."""
    try:
        return helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except (KeyError, TypeError):
        return 0


def _is_endless(value: Any) -> bool:
    """Whether an array of no element has so many lines that walking them takes seconds."""
    if not isinstance(value, np.ndarray) or value.size:
        return False
    return bool(math.prod(max(size, 1) for size in value.shape) > _MOST_EMPTY_LINES)


def _nbytes(value: Any) -> int:
    """Bytes of an array, or of those in a sequence."""
    if isinstance(value, list | tuple):
        return sum(map(_nbytes, value))
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _first_line(error: Exception) -> str:
    """The cause's first line: onnx.reference wraps type errors in descriptions of its own."""
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
