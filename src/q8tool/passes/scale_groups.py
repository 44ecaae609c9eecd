"""Scale groups: values whose channels can be multiplied by a factor without changing any answer.

    Conv -> Relu -> Conv        rows of the first weights times s, columns of the second over s
    LayerNormalization -> MatMul        the same with the norm's scale and bias

A factor passes through what is positively homogeneous in each channel (Relu, pooling) and through a
Clip from 0 up, as long as nothing reaches its upper end that did not before. Add makes one group of
all it joins. Whatever else reads or makes a value, and the graph's own inputs and outputs, pins it.
Groups are tied where operators share their weights, as the heads of a detector do for its levels:
under one factor the weights stay shared.
Source: Nagel et al., Data-Free Quantization, ICCV 2019 (arXiv:1906.04721), section 4.1.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from q8tool.model.graph import constant, get_int

__all__ = ["ScaleGroup", "scale_groups", "tied_groups"]

_HOMOGENEOUS = frozenset(
    {
        "Relu", "LeakyRelu", "Identity",
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    }
)  # fmt: skip
_PICTURES = frozenset({"Conv", "Gemm"})


@dataclass
class ScaleGroup:
    """Values that share one factor per channel.

    axis       of the channels: 1 for pictures and Gemm, -1 for MatMul and norms
    producers  operators whose weights make the values; their results are scaled by them
    consumers  operators that read the values with constant weights
    """

    axis: int
    values: list[ir.Value] = field(default_factory=list)
    producers: list[ir.Node] = field(default_factory=list)
    consumers: list[ir.Node] = field(default_factory=list)


def scale_groups(model: ir.Model) -> list[ScaleGroup]:
    """The groups of the main graph that have producers and consumers, in graph order."""
    finder = _Finder(model.graph)
    for node in model.graph:
        finder.visit(node)
    return finder.groups()


def tied_groups(groups: Sequence[ScaleGroup]) -> list[list[ScaleGroup]]:
    """The groups by which factor they share: those that scale the same weights, in graph order.

    Left out is what scales weights that somebody uses otherwise. Biases and norms tie nothing: a
    copy of one is small.
    """
    tied = {index: [index] for index in range(len(groups))}
    uses: dict[tuple[ir.Value, bool], list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        for weights, _, is_read in _scaled_weights(group):
            uses[weights, is_read].append(index)
    for indices in uses.values():
        together = sorted({member for index in indices for member in tied[index]})
        tied.update(dict.fromkeys(together, together))
    distinct = [together for index, together in tied.items() if together[0] == index]
    found = [[groups[member] for member in together] for together in distinct]
    return [together for together in found if _keeps_shared(together)]


def _scaled_weights(group: ScaleGroup) -> Iterator[tuple[ir.Value, ir.Node, bool]]:
    """Weights that the group's factors scale, whose, and whether along what they read."""
    for nodes, is_read in ((group.producers, False), (group.consumers, True)):
        for node in nodes:
            weights, array = node.inputs[1], constant(node.inputs[1])
            if weights is not None and array is not None and array.ndim > 1:
                yield weights, node, is_read


def _keeps_shared(tied: Sequence[ScaleGroup]) -> bool:
    """Whether every user of the weights that would be scaled is scaled with them, alike."""
    users: dict[tuple[ir.Value, bool], set[ir.Node]] = defaultdict(set)
    for group in tied:
        for weights, node, is_read in _scaled_weights(group):
            users[weights, is_read].add(node)
    return all(
        not weights.is_graph_output()
        and all(usage.node in nodes and usage.idx == 1 for usage in weights.uses())
        and len({_layout(node) for node in nodes}) == 1
        for (weights, _), nodes in users.items()
    )


def _layout(node: ir.Node) -> tuple[str, int, int]:
    """What decides which axes of the weights are outputs and inputs."""
    return node.op_type, get_int(node, "group", 1), get_int(node, "transB", 0)


class _Finder:
    """Joins values (union-find) while it walks the nodes in order."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._parent: dict[ir.Value, ir.Value] = {}
        self._axis: dict[ir.Value, int] = {}
        self._pinned: set[ir.Value] = set()
        self._producers: list[tuple[ir.Value, ir.Node]] = []
        self._consumers: list[tuple[ir.Value, ir.Node]] = []

    def visit(self, node: ir.Node) -> None:
        """Notes what the node does with the channels of its inputs and outputs."""
        if not self._is_understood(node):
            self._pin(*node.inputs, *node.outputs)

    def groups(self) -> list[ScaleGroup]:
        """All that is not pinned."""
        self._pin(*self._graph.inputs, *self._graph.outputs)
        for value in list(self._parent):
            if any(usage.node.graph is not self._graph for usage in value.uses()):
                self._pin(value)
        pinned = {self._root(value) for value in self._pinned}
        found: dict[ir.Value, ScaleGroup] = {}
        for value in self._parent:
            root = self._root(value)
            if root not in pinned:
                group = found.setdefault(root, ScaleGroup(self._axis[value]))
                group.values.append(value)
        for root, node in self._rooted(self._producers):
            if root in found:
                found[root].producers.append(node)
        for root, node in self._rooted(self._consumers):
            if root in found:
                found[root].consumers.append(node)
        return [group for group in found.values() if group.producers and group.consumers]

    def _is_understood(self, node: ir.Node) -> bool:
        if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
            return False
        x, y = node.inputs[0], node.outputs[0]
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            return self._weighted(node, x, y)
        if node.op_type == "LayerNormalization":
            return self._norm(node, x, y)
        if node.op_type in _HOMOGENEOUS or (node.op_type == "Clip" and _clips_above_zero(node)):
            if any(value.uses() for value in node.outputs[1:]):
                return False
            return self._join(x, y)
        if node.op_type == "Add":
            return self._sum(node, y)
        return node.op_type == "Flatten" and _is_flat_picture(node) and self._join(x, y)

    def _weighted(self, node: ir.Node, x: ir.Value, y: ir.Value) -> bool:
        weights = constant(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if weights is None or weights.dtype != np.float32 or not np.isfinite(weights).all():
            return False
        if weights.ndim < 2:
            return False
        if bias is not None and not _is_row(bias, _outputs_of(node, weights.shape)):
            return False
        if node.op_type == "Gemm" and get_int(node, "transA", 0):
            return False
        if node.op_type == "MatMul" and weights.ndim != 2:
            return False
        axis = 1 if node.op_type in _PICTURES else -1
        if not (self._enter(x, axis) and self._enter(y, axis)):
            return False
        self._consumers.append((x, node))
        self._producers.append((y, node))
        return True

    def _norm(self, node: ir.Node, x: ir.Value, y: ir.Value) -> bool:
        parts = [constant(value) for value in node.inputs[1:]]
        is_last = get_int(node, "axis", -1) == -1
        if not is_last or any(part is None or part.ndim != 1 for part in parts):
            return False
        if any(value.uses() for value in node.outputs[1:]) or not self._enter(y, -1):
            return False
        self._producers.append((y, node))
        self._pin(x)
        return True

    def _sum(self, node: ir.Node, y: ir.Value) -> bool:
        left, right = node.inputs[0], node.inputs[1]
        if left is None or right is None or constant(left) is not None:
            return False
        if constant(right) is not None or left.shape is None or left.shape != right.shape:
            return False
        return self._join(left, y) and self._join(right, y)

    def _enter(self, value: ir.Value, axis: int) -> bool:
        """False if the value's channels were found along another axis."""
        self._parent.setdefault(value, value)
        return self._axis.setdefault(self._root(value), axis) == axis

    def _join(self, one: ir.Value, other: ir.Value) -> bool:
        if one not in self._parent:
            return False
        axis = self._axis[self._root(one)]
        if not self._enter(other, axis):
            return False
        self._parent[self._root(other)] = self._root(one)
        self._axis[other] = axis
        return True

    def _root(self, value: ir.Value) -> ir.Value:
        while self._parent[value] is not value:
            value = self._parent[value]
        return value

    def _pin(self, *values: ir.Value | None) -> None:
        for value in values:
            if value is not None and constant(value) is None:
                self._parent.setdefault(value, value)
                self._axis.setdefault(value, 1)
                self._pinned.add(value)

    def _rooted(self, pairs: list[tuple[ir.Value, ir.Node]]) -> Iterator[tuple[ir.Value, ir.Node]]:
        return ((self._root(value), node) for value, node in pairs)


def _clips_above_zero(node: ir.Node) -> bool:
    """A Clip whose lower end is 0 or open, both ends constant."""
    ends = [constant(value) for value in node.inputs[1:3] if value is not None]
    if any(end is None for end in ends):
        return False
    low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return low is None or not np.any(low)


def _is_flat_picture(node: ir.Node) -> bool:
    """(N, C, 1, 1) -> (N, C)."""
    x = node.inputs[0]
    producer = None if x is None else x.producer()
    return (
        get_int(node, "axis", 1) == 1
        and producer is not None
        and producer.op_type in ("GlobalAveragePool", "GlobalMaxPool")
    )


def _outputs_of(node: ir.Node, shape: tuple[int, ...]) -> int:
    is_last = node.op_type == "MatMul" or (
        node.op_type == "Gemm" and not get_int(node, "transB", 0)
    )
    return shape[-1] if is_last else shape[0]


def _is_row(value: ir.Value, channels: int) -> bool:
    array = constant(value)
    return array is not None and array.size == channels and array.shape[-1:] == (channels,)
