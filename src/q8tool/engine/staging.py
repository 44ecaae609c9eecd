"""Where a graph is cut because only the run tells a shape: what comes behind is compiled later.

    x --> durations --> ReduceMax --> | --> Range --> Less --> MatMul --> Conv --> y
          known from the start        |     known once ReduceMax has run

A node is late if the shape of what it reads or gives follows from values that earlier nodes
compute. The late nodes are a graph of their own, whose inputs are what they read of the others.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node
from q8tool.engine.tensor_info import TensorInfo

__all__ = ["Cut", "cut_at_unknown_shapes"]

# Inputs whose values the shapes of a node's outputs follow from.
_SHAPING = {
    "CenterCropPad": (1,), "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3),
    "Range": (0, 1, 2), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceMin": (1,),
    "ReduceSum": (1,), "ReduceSumSquare": (1,), "Reshape": (1,), "Resize": (2, 3),
    "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,), "TopK": (1,),
    "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
# Without one of these among the late nodes, compiling takes longer than the host does.
_HEAVY = frozenset({
    "Conv", "ConvInteger", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger", "RNN",
    "QLinearConv", "QLinearMatMul",
})  # fmt: skip
# Conversions of codes belong to the nodes that read them: their steps are fused.
_CONVERSIONS = frozenset({"DequantizeLinear", "DynamicQuantizeLinear"})
# What sizes are computed from sizes by.
_OF_SIZES = frozenset({
    "Abs", "Add", "Cast", "Ceil", "Concat", "Div", "Equal", "Expand", "Floor", "Gather", "Identity",
    "Max", "Min", "Mod", "Mul", "Neg", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Reshape", "Round", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze",
    "Where",
})  # fmt: skip
# Values of more numbers than that are no sizes.
_MOST_SIZES = 64


@dataclass(frozen=True)
class Cut:
    """A graph in two.

    early     the nodes that can be compiled now
    late      the others; its inputs are fed, or computed by early ones
    deciding  those of its inputs, all small, whose values its shapes may follow from
    """

    early: Graph
    late: Graph
    deciding: frozenset[str]


def cut_at_unknown_shapes(
    graph: Graph, facts: Mapping[str, Fact], fed: Collection[str]
) -> Cut | None:
    """The graph cut where shapes are unknown; None if that would help no heavy node.

    fed  names of the inputs that the caller feeds
    """
    late = _late_nodes(graph, facts)
    if not any(node.op_type in _HEAVY and not node.domain for node in late):
        return None
    chosen = set(late)
    early = [node for node in graph.nodes if node not in chosen]
    behind = _behind(graph, facts, early, late, fed)
    return Cut(replace(graph, nodes=early), behind, _deciding(behind, facts))


def _late_nodes(graph: Graph, facts: Mapping[str, Fact]) -> list[Node]:
    made: set[str] = set()
    unknown: set[str] = set()
    late: list[Node] = []
    for node in graph.nodes:
        outputs = [name for name in node.outputs if name]
        is_open = any(facts[name].shape is None for name in outputs)
        if not unknown.isdisjoint(node.reads) or (is_open and _waits(node, facts, made)):
            late.append(node)
            unknown.update(outputs)
        elif is_open:
            unknown.update(outputs)
        made.update(outputs)
    return late


def _waits(node: Node, facts: Mapping[str, Fact], made: Collection[str]) -> bool:
    """True if the shapes of the node's outputs follow from values that other nodes compute."""
    return any(name in made and not facts[name].is_constant for name in _shaping(node))


def _shaping(node: Node) -> Iterator[str]:
    positions = () if node.domain else _SHAPING.get(node.op_type, ())
    return filter(None, (node.input(position) for position in positions))


def _behind(
    graph: Graph,
    facts: Mapping[str, Fact],
    early: Sequence[Node],
    late: Sequence[Node],
    fed: Collection[str],
) -> Graph:
    """The late nodes as a graph, with what is constant and with conversions of what they read."""
    makers = {name: node for node in early for name in node.outputs if name}
    plain = _made_of_constants(graph, early, fed)
    own = {name for node in late for name in node.outputs}
    constants, types = dict(graph.constants), dict(graph.constant_types)
    repeated: set[Node] = set()
    inputs: dict[str, None] = {}
    pending = [name for node in late for name in node.reads]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in own or name in seen or (name in constants and name not in fed):
            continue
        seen.add(name)
        fact, maker = facts[name], makers.get(name)
        is_conversion = maker is not None and maker.op_type in _CONVERSIONS and not maker.domain
        if maker is not None and (maker in plain or (is_conversion and not fact.is_constant)):
            repeated.add(maker)
            pending += maker.reads
        elif fact.is_constant and fact.dtype is not None and fact.shape is not None:
            constants[name], types[name] = fact.array, (fact.dtype, fact.shape)
        else:
            inputs[name] = None
    return replace(
        graph,
        inputs=[_info(name, facts[name]) for name in sorted(inputs)],
        nodes=[*(node for node in early if node in repeated), *late],
        constants=constants,
        constant_types=types,
        optional=frozenset(),
    )


def _made_of_constants(graph: Graph, early: Sequence[Node], fed: Collection[str]) -> set[Node]:
    """Nodes that read nothing but initializers: what is known of weights stays known."""
    known = graph.constants.keys() - set(fed)
    found: set[Node] = set()
    for node in early:
        if known.issuperset(node.reads) and not node.captured:
            found.add(node)
            known.update(name for name in node.outputs if name)
    return found


def _info(name: str, fact: Fact) -> TensorInfo:
    dtype = np.dtype(object) if fact.dtype is None else fact.dtype
    return TensorInfo(name, dtype, fact.shape, is_tensor=fact.dtype is not None)


def _deciding(late: Graph, facts: Mapping[str, Fact]) -> frozenset[str]:
    """Inputs of a few numbers from which sizes inside of the late graph are computed."""
    makers = {name: node for node in late.nodes for name in node.outputs if name}
    sizes = {
        info.name
        for info in late.inputs
        if info.is_tensor and info.dtype.kind in "biuf" and _is_few(facts[info.name])
    }
    pending = [name for node in late.nodes for name in _shaping(node)]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type in _OF_SIZES and not maker.domain:
            pending += maker.reads
    return frozenset(sizes & seen)


def _is_few(fact: Fact) -> bool:
    return fact.shape is not None and math.prod(fact.shape) <= _MOST_SIZES
