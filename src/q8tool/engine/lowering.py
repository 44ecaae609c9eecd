"""Lowering: from nodes to steps, converting values between their forms when somebody asks.

Every operator family has a file lower_<family>.py with functions that take (Lowering, Node) and
emit steps through the methods here, or raise Declined, upon which the node becomes a host step.
A function raises before it sets an output's form; conversions that it emitted stay, and are
dropped later if nobody reads them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node
from q8tool.engine.steps import Steps
from q8tool.engine.tensors import (
    HostStep,
    Layout,
    NativeStep,
    Storage,
    Tensor,
    contiguous_strides,
    new_tensor,
    physical_shape,
)
from q8tool.engine.values import CodeParams, Codes, Declined, Value, stored_codes

__all__ = [
    "Lowering",
    "LoweringFunction",
    "RefusedNode",
    "constant_tensor",
    "number_beside",
    "scalar",
]

# Kinds of numpy types that plans have; V are those of ml_dtypes.
_NATIVE_KINDS = "biufV"
# Of a tensor in C.
_MOST_DIMENSIONS = 8


class RefusedNode(Exception):  # noqa: N818 - handled by compiling again
    """A lowering stumbled over operands or attributes that do not fit together.

    The node belongs on the host then, whose operators check what they get and say what is wrong.
    """

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node


class Lowering:
    """The state of one lowering: values by name, steps in the order they were emitted.

    kept     names of values that must exist in float at the end: outputs and observed ones
    refused  nodes that C turned out not to take, and why
    """

    def __init__(
        self,
        graph: Graph,
        facts: Mapping[str, Fact],
        kept: Sequence[str],
        functions: Mapping[tuple[str, str], "LoweringFunction"],
        refused: Mapping[Node, str],
    ) -> None:
        self.graph = graph
        self.steps = Steps()
        self.kept = frozenset(kept)
        self._functions = functions
        self._refused = refused
        self._values = {name: Value(name, fact) for name, fact in facts.items()}
        self._consumers: dict[str, list[Node]] = {}
        self.producers: dict[str, Node] = {}
        self.positions = {node: position for position, node in enumerate(graph.nodes)}
        self._fused: set[Node] = set()
        self._usual: set[str] = set()
        self._code_params: dict[Node, CodeParams | None] = {}
        self._instead: dict[Node, LoweringFunction] = {}
        self._current: list[Node] = []
        self._reason = ""
        for node in graph.nodes:
            self.producers.update((name, node) for name in node.outputs)
            for name in node.reads:
                self._consumers.setdefault(name, []).append(node)

    # ---- the graph ----

    def value(self, name: str) -> Value:
        """The value of that name, which must exist."""
        return self._values[name]

    def input(self, node: Node, position: int) -> Value:
        """An input that the node must have. Raises Declined if it is left out."""
        name = node.input(position)
        if not name:
            raise Declined(f"input {position} is missing")
        return self._values[name]

    def optional(self, node: Node, position: int) -> Value | None:
        """An input, None if the node leaves it out."""
        name = node.input(position)
        return self._values[name] if name else None

    def output(self, node: Node, position: int = 0) -> Value:
        """One of the node's outputs."""
        return self._values[node.outputs[position]]

    def consumers(self, name: str) -> list[Node]:
        """Nodes that read the value, each once."""
        return self._consumers.get(name, [])

    def sole_consumer(self, name: str) -> Node | None:
        """The one node that reads the value, None if others or the caller see it too."""
        nodes = self.consumers(name)
        return nodes[0] if len(nodes) == 1 and name not in self.kept else None

    # ---- running through the nodes ----

    def run(self) -> None:
        """Lowers every node whose result is not constant and that no other step has absorbed."""
        for node in self.graph.nodes:
            outputs = [self._values[name] for name in node.outputs if name]
            if node not in self._fused and not all(value.is_constant for value in outputs):
                self.lower(node)

    def lower(self, node: Node) -> None:
        """Emits the steps of one node: native if its lowering takes it, else on the host."""
        function = self._functions.get((node.domain, node.op_type), _no_kernel)
        self.lower_by(self._instead.get(node, function), node)

    def lower_by(self, function: "LoweringFunction", node: Node) -> None:
        """Emits the steps of a node by the given lowering, or on the host where it declines."""
        outer = self._current, self._reason
        self._current, self._reason = [node], ""
        try:
            if node in self._refused:
                raise Declined(self._refused[node])
            if node.op_type == "Identity" and not node.domain and self._is_host_only(node):
                self.output(node).forms = dict(self.input(node, 0).forms)
                return
            if function is not _no_kernel:
                self._refuse_odd_tensors(node)
            function(self, node)
        except Declined as declined:
            self.lower_on_host(node, str(declined))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RefusedNode(node, f"its operands do not fit together: {error}") from error
        finally:
            self._current, self._reason = outer

    def defer(self, node: Node, function: "LoweringFunction") -> None:
        """Emits the node's float steps by the given lowering only if its output is asked for."""
        self.output(node).deferred = partial(self.lower_by, function, node)

    def absorb(self, nodes: Sequence[Node]) -> None:
        """Marks nodes as done by the step that is emitted next."""
        self._fused.update(nodes)
        self._current.extend(nodes)

    def lower_instead(self, node: Node, function: "LoweringFunction") -> None:
        """Lowers a later node by the given function, which must not decline."""
        self._instead[node] = function

    def is_refused(self, node: Node) -> bool:
        """True if C has refused the step that this node led to."""
        return node in self._refused

    def is_read_here_only(self, name: str) -> bool:
        """True if nobody but the current nodes reads the value."""
        return name not in self.kept and all(n in self._current for n in self.consumers(name))

    def take_back(self, nodes: Sequence[Node]) -> None:
        """Drops the steps of earlier nodes whose results only they and the current node read.

        The current node's step stands for them then. Does nothing if somebody else reads a result.
        """
        names = [name for node in nodes for name in node.outputs if name]
        readers = {*nodes, *self._current}
        if any(name in self.kept or not readers.issuperset(self.consumers(name)) for name in names):
            return
        values = [self._values[name] for name in names]
        storages = {tensor.storage for value in values for tensor in value.forms.values()}
        self.steps.keep(lambda step: not storages.intersection(t.storage for t in step.outputs))
        for value in values:
            value.forms = {}
        self.absorb(nodes)

    def stand_in(self, step: NativeStep) -> tuple[Node, ...]:
        """Makes an earlier step stand for the current nodes as well; all that it stands for."""
        step.nodes = tuple(dict.fromkeys([*step.nodes, *self._current]))
        return step.nodes

    def explain(self, reason: str) -> None:
        """Why the current node's steps are float although codes go in."""
        self._reason = reason

    def _is_host_only(self, node: Node) -> bool:
        """True for a sequence, an optional value and the like, and for strings."""
        dtype = self.input(node, 0).dtype
        return dtype is None or dtype == np.dtype(object)

    def _refuse_odd_tensors(self, node: Node) -> None:
        for name in (*node.inputs, *node.outputs):
            if not name or name in self._usual:
                continue
            value = self._values[name]
            if value.is_constant and 0 in value.shape:
                continue  # a parameter that says nothing, as the roi of Resize, or an empty part
            if value.dtype is None or value.dtype.kind not in _NATIVE_KINDS:
                raise Declined(f"'{name}' has type {value.dtype}")
            if 0 in value.shape:
                raise Declined(f"'{name}' is empty")
            if value.rank > _MOST_DIMENSIONS:
                raise Declined(f"'{name}' has {value.rank} dimensions")
            self._usual.add(name)

    def lower_on_host(self, node: Node, reason: str) -> None:
        """One host step: inputs as ONNX has them, outputs likewise."""
        inputs = [self.host_form(self._values[name]) for name in node.reads]
        outputs = []
        for name in node.outputs:
            if name:
                outputs.append(self.outer_form(self._values[name]))
        self.steps.append(HostStep(node, inputs, outputs, reason))

    def outer_form(self, value: Value) -> Tensor:
        """The only form of a value that comes from the caller or from a host step."""
        dtype = np.dtype(object) if value.dtype is None else value.dtype
        shape = value.fact.shape
        tensor = Tensor(Storage(None), dtype, None) if shape is None else new_tensor(dtype, shape)
        value.forms = {_host_layout(value): tensor}
        value.codes = value.deferred = None
        return tensor

    # ---- emitting ----

    def emit(
        self,
        method: str,
        reads: dict[str, Tensor | None],
        writes: dict[str, Tensor],
        **arguments: Any,
    ) -> None:
        """Appends a native step that stands for the current node and what it absorbed."""
        nodes = tuple(dict.fromkeys(self._current))
        self.steps.append(NativeStep(method, reads, writes, arguments, nodes, self._reason))

    def copy(
        self,
        x: Tensor,
        y: Tensor,
        dims: Sequence[int],
        x_strides: Sequence[int],
        y_strides: Sequence[int],
        x_offset: int = 0,
        y_offset: int = 0,
        table: NDArray[np.uint8] | None = None,
    ) -> None:
        """A strided copy; offsets and strides in elements."""
        self.emit(
            "copy", {"x": x}, {"y": y}, dims=list(dims), x_strides=list(x_strides),
            y_strides=list(y_strides), x_offset=x_offset, y_offset=y_offset, table=table,
        )  # fmt: skip

    def transposed(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """x with its dimensions in another order; a view where no byte has to move."""
        dims = [x.shape[axis] for axis in order]
        moving = [axis for axis in order if x.shape[axis] != 1]
        if moving == sorted(moving):
            return x.view(dims)
        if x.array is not None:
            return constant_tensor(x.array.transpose(order))
        y = new_tensor(x.dtype, dims)
        strides = contiguous_strides(x.shape)
        self.copy(x, y, dims, [strides[axis] for axis in order], contiguous_strides(dims))
        return y

    # ---- forms ----

    def form(self, value: Value, layout: Layout) -> Tensor:
        """The value in its own type (int8 as uint8 + 128) and the given layout."""
        if len(value.shape) < 3 and layout is Layout.CHANNELS_LAST:
            layout = Layout.PLAIN
        if layout not in value.forms:
            value.forms[layout] = self._made(value, layout)
        return value.forms[layout]

    def host_form(self, value: Value) -> Tensor:
        """The value as a host step or a caller sees it."""
        layout = _host_layout(value)
        if value.fact.shape is not None:
            return self.form(value, layout)
        return value.forms[layout]

    def result(self, name: str) -> Tensor:
        """A value as the caller gets it; what that takes counts as work of its producer."""
        self._current = [self.producers[name]] if name in self.producers else []
        return self.host_form(self._values[name])

    def _made(self, value: Value, layout: Layout) -> Tensor:
        """A form that does not exist yet, from a constant, codes or another form."""
        if value.is_constant:
            array = value.fact.array()
            if layout is Layout.RAW:
                return constant_tensor(array)
            plain = constant_tensor(stored_codes(array))
            return plain if layout is Layout.PLAIN else self.reordered(plain, layout)
        if not value.forms:
            self._materialize(value, layout)
        if layout in value.forms:
            return value.forms[layout]
        if layout is Layout.RAW:
            return self._flipped(self.form(value, Layout.PLAIN), np.dtype(np.int8))
        if Layout.PLAIN not in value.forms and Layout.CHANNELS_LAST not in value.forms:
            plain = self._flipped(value.forms[Layout.RAW], np.dtype(np.uint8))
            value.forms[Layout.PLAIN] = plain
            if layout is Layout.PLAIN:
                return plain
        other = Layout.PLAIN if layout is Layout.CHANNELS_LAST else Layout.CHANNELS_LAST
        return self.reordered(value.forms[other], layout)

    def _materialize(self, value: Value, layout: Layout) -> None:
        """Gives a float value that exists only as codes or as a deferred node a float form."""
        codes = value.codes
        if codes is not None and codes.params is not None:
            layout = self.layout_of(codes.source, preferred=layout)
            x = self.form(codes.source, layout)
            y = new_tensor(np.float32, x.shape)
            scale, zero_point = codes.params.scale, codes.params.zero_point
            self.emit("dequantize", {"x": x}, {"y": y}, scale=scale, zero_point=zero_point)
            value.forms[layout] = y
        elif value.deferred is not None:
            for waiting in self._deferred_chain(value):
                assert waiting.deferred is not None
                waiting.deferred()
        if not value.forms:
            raise Declined(f"'{value.name}' has no float form")

    def _deferred_chain(self, value: Value) -> list[Value]:
        """A deferred value behind those that it is a function of and that wait as well.

        One after the other, because each asking for the one before would go as deep as the chain.
        """
        chain = [value]
        while True:
            node = self.producers.get(chain[-1].name)
            reads = [self._values[name] for name in node.reads] if node is not None else []
            before = [source for source in reads if not source.is_constant]
            if len(before) != 1 or not before[0].is_waiting:
                return chain[::-1]
            chain.append(before[0])

    def _flipped(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """int8 as is <-> uint8, 128 higher."""
        as_bytes = Tensor(x.storage, np.dtype(np.uint8), x.dims)
        y = new_tensor(np.uint8, x.shape)
        table = np.arange(256).astype(np.uint8) ^ np.uint8(0x80)
        self.emit("table", {"x": as_bytes}, {"y": y}, table=table)
        return Tensor(y.storage, dtype, y.dims)

    def reordered(self, x: Tensor, layout: Layout) -> Tensor:
        """x, which lies in the other of the two, as PLAIN or CHANNELS_LAST."""
        rank = len(x.shape)
        if rank < 3:
            return x
        if layout is Layout.CHANNELS_LAST:
            return self.transposed(x, [0, *range(2, rank), 1])
        return self.transposed(x, [0, rank - 1, *range(1, rank - 1)])

    def layout_of(self, *values: Value, preferred: Layout = Layout.PLAIN) -> Layout:
        """The layout that costs no conversion: channels last if that is what exists."""
        layouts: set[Layout] = set()
        for value in values:
            forms = value.forms
            if not forms and value.codes is not None:
                forms = value.codes.source.forms
            if not value.is_constant:
                layouts.update(forms)
        if preferred in layouts:
            return preferred
        return Layout.CHANNELS_LAST if Layout.CHANNELS_LAST in layouts else Layout.PLAIN

    def new_form(self, value: Value, layout: Layout) -> Tensor:
        """A tensor to be written, registered as this form of an output."""
        assert value.dtype is not None
        is_stored = value.dtype == np.int8 and layout is not Layout.RAW
        dtype = np.dtype(np.uint8) if is_stored else value.dtype
        if value.rank < 3 and layout is Layout.CHANNELS_LAST:
            layout = Layout.PLAIN
        value.forms[layout] = new_tensor(dtype, physical_shape(value.shape, layout))
        return value.forms[layout]

    # ---- codes ----

    def affine_codes(self, value: Value) -> Codes | None:
        """The value as codes with a scale and a zero point, None if it has no such form.

        A table whose every entry lies on the codes' own grid (Relu, a Clip at a code) becomes one.
        """
        codes = value.codes
        if codes is None or codes.is_affine:
            return codes
        grid = codes.grid
        moved = grid.codes(codes.table)
        if not np.array_equal(grid.floats()[moved], codes.table):
            return None
        source = Value(f"{value.name} codes", codes.source.fact)
        layout = self.layout_of(codes.source)
        y = self.new_form(source, layout)
        self.emit("table", {"x": self.form(codes.source, layout)}, {"y": y}, table=moved)
        value.codes = Codes(source, grid)
        return value.codes

    def code_params(self, node: Node) -> CodeParams | None:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear of one scale for all.

        None if they are not constant, have an axis or another type, or the codes are not of 8 bits.
        """
        if node not in self._code_params:
            self._code_params[node] = self._found_code_params(node)
        return self._code_params[node]

    def _found_code_params(self, node: Node) -> CodeParams | None:
        scale, zero_point = scalar(self.optional(node, 1)), 0
        wide = node.attributes.get("block_size", 0) or node.attributes.get("precision", 0)
        is_quantize = node.op_type == "QuantizeLinear"
        coded = self.output(node) if is_quantize else self.input(node, 0)
        if scale is None or wide or coded.dtype not in (np.uint8, np.int8):
            return None
        given = self.optional(node, 2)
        if given is not None:
            constant = scalar(given)
            if constant is None or given.dtype != coded.dtype:
                return None
            zero_point = int(constant)
        is_signed = coded.dtype == np.int8
        positive = np.float32(scale) > 0 and np.isfinite(scale)
        return (
            CodeParams(float(scale), zero_point + 128 * is_signed, is_signed) if positive else None
        )


def _no_kernel(lowering: Lowering, node: Node) -> None:
    """The lowering of operators that have none."""
    raise Declined(f"{node.op_type} has no C kernel")


def scalar(value: Value | None) -> Any:
    """The one element of a constant, None for anything else."""
    if value is None or not value.is_constant or value.fact.shape is None:
        return None
    return value.fact.array().item() if math.prod(value.fact.shape) == 1 else None


def constant_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of known content."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return Tensor(Storage(array.nbytes), array.dtype, array.shape, array)


def number_beside(tensor: Tensor, value: float) -> Tensor:
    """One float of as many dimensions as a tensor has: it broadcasts against it."""
    return constant_tensor(np.full([1] * len(tensor.shape), value, np.float32))


def _host_layout(value: Value) -> Layout:
    return Layout.RAW if value.dtype == np.int8 else Layout.PLAIN


LoweringFunction = Callable[[Lowering, Node], None]
