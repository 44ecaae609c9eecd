"""Select: nodes by pattern, as --exclude and --include take them.

conv1/*        node names, with * ? [] as in file names
op:Softmax     operator types, same wildcards
re:head.*bias  node names, regular expression that must match the whole name
conv5..conv9   every node on a way from the one to the other, both included; either side may be any
               of the above
"""

import difflib
import fnmatch
import re
from collections.abc import Callable, Sequence

import onnx_ir as ir

from q8tool.errors import UsageError
from q8tool.model.graph import node_name

__all__ = ["select_nodes"]


def select_nodes(model: ir.Model, patterns: Sequence[str]) -> dict[str, list[ir.Node]]:
    """Pattern -> nodes of the main graph, in graph order.

    A node without a name goes by its first output's. Raises UsageError for a pattern that matches
    nothing, with the nearest name, and for a regular expression that is none.
    """
    nodes = [(node_name(node), node) for node in model.graph]
    return {pattern: _selected(pattern, nodes) for pattern in patterns}


def _selected(pattern: str, nodes: Sequence[tuple[str, ir.Node]]) -> list[ir.Node]:
    """What the pattern matches; a name that holds two dots is a name first of all."""
    first, dots, last = pattern.partition("..")
    is_name = any(fnmatch.fnmatchcase(name, pattern) for name, _ in nodes)
    if not dots or is_name or pattern.startswith("re:"):
        return _matches(pattern, nodes)
    starts, ends = _matches(first, nodes), _matches(last, nodes)
    behind = _reached(starts, lambda node: [use.node for v in node.outputs for use in v.uses()])
    before = _reached(ends, _producers)
    found = [node for _, node in nodes if node in behind and node in before]
    if not found:
        raise UsageError(
            f"no way leads from '{first}' to '{last}'", "the first must come before the second"
        )
    return found


def _producers(node: ir.Node) -> list[ir.Node]:
    """Who computes what the node reads."""
    found = (value.producer() for value in node.inputs if value is not None)
    return [producer for producer in found if producer is not None]


def _reached(
    starts: Sequence[ir.Node], following: Callable[[ir.Node], list[ir.Node]]
) -> set[ir.Node]:
    """The starts and all that follows them, each looked at once."""
    reached, waiting = set(starts), list(starts)
    while waiting:
        for node in following(waiting.pop()):
            if node not in reached:
                reached.add(node)
                waiting.append(node)
    return reached


def _matches(pattern: str, nodes: Sequence[tuple[str, ir.Node]]) -> list[ir.Node]:
    kind, _, rest = pattern.partition(":")
    if kind == "op":
        candidates = sorted({f"op:{node.op_type}" for _, node in nodes})
        found = [node for _, node in nodes if fnmatch.fnmatchcase(node.op_type, rest)]
    elif kind == "re":
        candidates, expression = [name for name, _ in nodes], _compiled(rest)
        found = [node for name, node in nodes if expression.fullmatch(name)]
    else:
        candidates = [name for name, _ in nodes]
        found = [node for name, node in nodes if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        wanted = rest if kind == "re" else pattern
        near = difflib.get_close_matches(wanted, candidates, n=1, cutoff=0.4)
        raise UsageError(
            f"pattern '{pattern}' matches no node", f"did you mean {near[0]}?" if near else ""
        )
    return found


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"'{text}' is not a regular expression: {error}") from error
