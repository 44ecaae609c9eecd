"""The graph as the engine sees it: nodes and value names, read once from a model or its file.

onnx_ir.Model --read_graph.py--+--> Graph: nodes in execution order, constants, versions
plain file --plain_graph.py----+
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError

if TYPE_CHECKING:
    import onnx

__all__ = ["Graph", "Node", "in_order", "with_axis"]

Array = NDArray[Any]


@dataclass(eq=False)
class Node:
    """One operator call. Values are known by name; "" is an input or output left out.

    captured    values of the main graph that its subgraphs read
    reads       every value that must exist before the node runs, each once
    make_proto  gives the node as its file has it; its values may have other names there
    """

    name: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    captured: tuple[str, ...]
    make_proto: "Callable[[], onnx.NodeProto]" = field(repr=False)
    reads: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.reads = tuple(dict.fromkeys(n for n in (*self.inputs, *self.captured) if n))

    @cached_property
    def proto(self) -> "onnx.NodeProto":
        """The node as onnx has it: for its shape inference, and to run on the host."""
        proto = self.make_proto()
        proto.domain, proto.name = self.domain, self.name
        proto.input[:], proto.output[:] = self.inputs, self.outputs
        return proto

    def input(self, position: int) -> str:
        """The name of an input, "" if the node leaves it out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(eq=False)
class Graph:
    """Nodes in execution order and what surrounds them.

    inputs     what a caller feeds (initializers that are inputs as well are optional)
    constants  initializer name -> a function that reads it
    constant_types  initializer name -> type and shape
    optional   names of inputs that have a default among the constants
    metadata_props  the model's own notes
    """

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    nodes: list[Node]
    constants: dict[str, Callable[[], Array]]
    constant_types: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    optional: frozenset[str]
    opsets: dict[str, int]
    metadata_props: Mapping[str, str]

    @property
    def fed(self) -> list[TensorInfo]:
        """The inputs that must be fed: those without a default."""
        return [info for info in self.inputs if info.name not in self.optional]


def in_order(nodes: list[Node], known: Iterable[str]) -> list[Node]:
    """The nodes so that each comes after those that compute what it reads.

    known  names of inputs and initializers

    Raises InputError for a value that is read and never computed, and for a cycle.
    """
    producers = {name: node for node in nodes for name in node.outputs if name}
    names, is_sorted = set(known), True
    for node in nodes:
        is_sorted = is_sorted and names.issuperset(node.reads)
        names.update(node.outputs)
    if is_sorted:
        return nodes
    for node in nodes:
        for name in node.reads:
            if name not in names:
                raise InputError(
                    f"node '{node.name}' ({node.op_type}) reads '{name}', which nothing computes"
                )
    needs = {n: [producers[name] for name in n.reads if name in producers] for n in nodes}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InputError(f"node '{error.args[1][0].name}' needs its own result") from error


def with_axis(make_proto: "Callable[[], onnx.NodeProto]", axis: int) -> "onnx.NodeProto":
    """What a Node's make_proto gives, with another attribute `axis`."""
    from onnx import helper

    proto = make_proto()
    kept = [attribute for attribute in proto.attribute if attribute.name != "axis"]
    del proto.attribute[:]
    proto.attribute.extend([*kept, helper.make_attribute("axis", axis)])
    return proto
