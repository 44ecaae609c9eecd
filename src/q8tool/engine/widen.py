"""Half floats: nodes that work in float16 or bfloat16 become nodes that work in float32.

    x: float16 -> Conv -> Relu -> y: float16
    x: float16 -> Cast -> Conv -> Relu -> Cast -> y: float16

The C engine has no arithmetic of half floats. Every result is rounded to the type that the model
gives it, as a node on its own would, but where that changes nothing, or belongs to codes: between a
value and its Relu or Clip, behind DequantizeLinear, in front of QuantizeLinear. Nodes that only
move data do so in whichever type their input has.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node

if TYPE_CHECKING:
    import onnx

__all__ = ["widened"]

_NARROW = ("float16", "bfloat16")
# TensorProto.DataType
_DATA_TYPES = {"float32": 1, "float16": 10, "bfloat16": 16}
# Rounding before them is the same as rounding behind them, or would be lost in codes.
_ROUNDED_LATER = frozenset({("", "Relu"), ("", "Clip"), ("", "QuantizeLinear")})
_DEQUANTIZE = ("", "DequantizeLinear")
# Readers that want a value in its own type.
_OTHERS = ("", "")


def widened(
    graph: Graph,
    facts: dict[str, Fact],
    wanted: Collection[str],
    computing: Collection[tuple[str, str]],
    moving: Collection[tuple[str, str]],
) -> tuple[Graph, dict[str, Fact]]:
    """The graph with float32 in place of half floats, and the facts of its new values.

    wanted     names of the values that the caller gets, in their own types
    computing  operators, domain and name, that C has in float32
    moving     those that give the values of their first input, or of all, unchanged
    """
    if not any(_is_narrow(fact) for fact in facts.values()):
        return graph, facts
    rewriting = _Rewriting(facts, graph.opsets.get("", 0))
    chosen = {node for node in graph.nodes if rewriting.chooses(node, computing, moving)}
    readers: dict[str, set[tuple[str, str]]] = {}
    for node in graph.nodes:
        kind = (node.domain, node.op_type) if node in chosen else _OTHERS
        for name in node.reads:
            readers.setdefault(name, set()).add(kind)
    for name in wanted:
        readers.setdefault(name, set()).add(_OTHERS)
    late = _ROUNDED_LATER.union(moving)
    rounded_later = {name for name, kinds in readers.items() if kinds <= late}
    nodes = rewriting.rewritten(graph.nodes, chosen, rounded_later)
    return replace(graph, nodes=nodes), rewriting.facts


class _Rewriting:
    """Of one graph: which values exist as float32, under which names."""

    def __init__(self, facts: dict[str, Fact], opset: int) -> None:
        self.facts = dict(facts)
        self._opset = opset
        self._computed: set[str] = set()  # values that some node will compute in float32
        self._wide: dict[str, str] = {}

    def chooses(
        self,
        node: Node,
        computing: Collection[tuple[str, str]],
        moving: Collection[tuple[str, str]],
    ) -> bool:
        """True if the node shall work in float32. To be asked in the order of the nodes."""
        operator = node.domain, node.op_type
        named = [name for name in (*node.inputs, *node.outputs) if name]
        is_narrow = any(_is_narrow(self.facts[name]) for name in named) and not node.captured
        if not is_narrow or all(self.facts[name].is_constant for name in node.outputs if name):
            return False
        is_moved = operator in moving and not self._computed.isdisjoint(node.inputs)
        if not is_moved and (operator not in computing or operator in moving):
            return False
        self._computed.update(n for n in node.outputs if n and _is_narrow(self.facts[n]))
        return True

    def rewritten(
        self, nodes: Sequence[Node], chosen: Collection[Node], rounded_later: Collection[str]
    ) -> list[Node]:
        """The nodes, with casts where a value is needed in the type that it has not.

        rounded_later  values that only nodes read which pass them on to be rounded
        """
        result: list[Node] = []
        for node in nodes:
            if node not in chosen:
                result.append(node)
                continue
            for name in dict.fromkeys(node.inputs):
                if name and _is_narrow(self.facts[name]) and name not in self._wide:
                    result.extend(self._cast_to_float(name))
            outputs = {n: self._named(n) for n in node.outputs if n and _is_narrow(self.facts[n])}
            renamed = tuple(outputs.get(name, name) for name in node.outputs)
            inputs = tuple(self._wide.get(name, name) for name in node.inputs)
            result.append(replace(node, inputs=inputs, outputs=renamed))
            is_of_codes = (node.domain, node.op_type) == _DEQUANTIZE
            for name, wide in outputs.items():
                if name in rounded_later or is_of_codes:
                    self._wide[name] = wide
                if name not in rounded_later:
                    result.append(self._cast(wide, name, self.facts[name].dtype))
        return result

    def _cast_to_float(self, name: str) -> list[Node]:
        """Gives a value its float32 form: a constant at once, another by a node."""
        fact = self.facts[name]
        self._wide[name] = wide = self._named(name)
        if fact.is_constant:
            self.facts[wide] = Fact(np.dtype(np.float32), fact.shape, partial(_as_float, fact))
            return []
        return [self._cast(name, wide, np.dtype(np.float32))]

    def _named(self, name: str) -> str:
        """A new name for a float32 form, and its fact."""
        wide = f"{name} as float32"
        while wide in self.facts:
            wide += "'"
        self.facts[wide] = Fact(np.dtype(np.float32), self.facts[name].shape)
        return wide

    def _cast(self, x: str, y: str, dtype: np.dtype[Any] | None) -> Node:
        assert dtype is not None
        to = _DATA_TYPES[dtype.name]
        return Node(
            name=f"cast of {x}",
            op_type="Cast",
            domain="",
            version=self._opset,
            inputs=(x,),
            outputs=(y,),
            attributes={"to": to},
            captured=(),
            make_proto=partial(_cast_proto, to),
        )


def _cast_proto(to: int) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node("Cast", [""], [""], to=to)


def _is_narrow(fact: Fact) -> bool:
    # A type's name takes numpy longer than all else here, and most values are wider.
    dtype = fact.dtype
    return dtype is not None and dtype.itemsize == 2 and dtype.name in _NARROW


def _as_float(fact: Fact) -> NDArray[np.float32]:
    return fact.array().astype(np.float32)
