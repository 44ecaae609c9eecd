"""Branches: an If whose condition is known before anything runs gives way to the branch it takes.

Conditions follow from shapes, as in what exporters write of a Squeeze, or from inputs of one number
for whose values a session builds its plans (parameters.py): a decoder's "use the cache", a rate of
samples. What comes behind has shapes then, and runs in C.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node, in_order

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["with_chosen_branches"]


def with_chosen_branches(graph: Graph, facts: Mapping[str, Fact]) -> Graph | None:
    """The graph with the nodes of branches in place of every such If; None if there is none.

    Branches inside of these are not looked at. An If stays if a name of its branch is used outside
    of it, or if it gives something else than tensors.
    """
    nodes, constants, types = [], dict(graph.constants), dict(graph.constant_types)
    used = {*facts, *constants}
    found = False
    for node in graph.nodes:
        branch = _chosen(node, facts)
        names = _names_inside(branch) if branch is not None else set()
        if branch is None or names & used:
            nodes.append(node)
            continue
        found = True
        used |= names
        from q8tool.engine.read_graph import constants_of, nodes_of

        inner_constants, inner_types = constants_of(branch)
        constants.update(inner_constants)
        types.update(inner_types)
        nodes += [*nodes_of(branch, graph.opsets), *_results(node, branch)]
    if not found:
        return None
    known = [*(info.name for info in graph.inputs), *constants]
    return replace(graph, nodes=in_order(nodes, known), constants=constants, constant_types=types)


def _chosen(node: Node, facts: Mapping[str, Fact]) -> "ir.Graph | None":
    """The branch that an If takes, if that is known."""
    if node.op_type != "If" or node.domain:
        return None
    condition = facts[node.input(0)]
    if not condition.is_small or condition.array().size != 1:
        return None
    takes = bool(np.asarray(condition.array()).reshape(()))
    branch: ir.Graph = node.attributes["then_branch" if takes else "else_branch"]
    return branch if _gives_tensors(branch) and len(branch.outputs) == len(node.outputs) else None


def _gives_tensors(branch: "ir.Graph") -> bool:
    import onnx_ir as ir

    return all(value.type is None or isinstance(value.type, ir.TensorType)
               for value in branch.outputs)  # fmt: skip


def _names_inside(branch: "ir.Graph") -> set[str]:
    """Names that the branch gives to its own values."""
    made = {value.name or "" for node in branch for value in node.outputs}
    return {name for name in (*made, *branch.initializers) if name}


def _results(node: Node, branch: "ir.Graph") -> list[Node]:
    """What the branch gives, under the names of the If's outputs."""
    return [
        Node(
            name=f"{node.name}_{position}",
            op_type="Identity",
            domain="",
            version=node.version,
            inputs=(value.name or "",),
            outputs=(output,),
            attributes={},
            captured=(),
            make_proto=partial(_identity, node.name),
        )
        for position, (value, output) in enumerate(zip(branch.outputs, node.outputs, strict=True))
        if output
    ]


def _identity(name: str) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node("Identity", ["x"], ["y"], name)
