"""onnxruntime's own operators in the standard's words.

    c = com.microsoft.QLinearAdd(a, sa, za, b, sb, zb, sc, zc)
    ->  c = QuantizeLinear(Add(DequantizeLinear(a, sa, za), DequantizeLinear(b, sb, zb)), sc, zc)

The quantizer and the graph optimizer of onnxruntime write them. Both sides mean the same real
numbers; results may differ by one code, as onnxruntime rounds on the way in some of them.
Families: foreign_qlinear.py (eight-bit operators), foreign_integer.py (integer products with float
results), foreign_packed.py (weights of fewer bits), foreign_float.py (fused float operators),
foreign_attention.py (attention and embeddings, of floats and of codes).
"""

import onnx_ir as ir

from q8tool.model import (
    foreign_attention,
    foreign_float,
    foreign_integer,
    foreign_packed,
    foreign_qlinear,
)
from q8tool.model.change import Change
from q8tool.model.foreign_nodes import Replace, Replacement
from q8tool.model.graph import Names, all_graphs, all_nodes, get_int

__all__ = ["DOMAIN", "has_foreign_operators", "standardize_operators"]

DOMAIN = "com.microsoft"

_REPLACE: dict[str, Replace] = {
    **foreign_qlinear.REPLACE,
    **foreign_integer.REPLACE,
    **foreign_float.REPLACE,
    **foreign_packed.REPLACE,
    **foreign_attention.REPLACE,
}


def has_foreign_operators(model: ir.Model) -> bool:
    """Whether standardize_operators finds something."""
    return any(_replace_of(node) for node in all_nodes(model.graph))


def standardize_operators(model: ir.Model) -> list[Change]:
    """Replace onnxruntime's own operators, in place; those of unknown form stay."""
    names, changes = Names(model.graph), []
    for graph in all_graphs(model):
        for node in list(graph):
            replace = _replace_of(node)
            if replace is None or not isinstance(graph, ir.Graph):
                continue
            new = Replacement(graph, node, names, model.opset_imports.get("", 0))
            results = replace(new, node)
            if results is not None:
                label = node.name or node.op_type
                new.finish(results)
                changes.append(Change("standardize_operators", label, f"was {node.op_type}"))
    nodes = all_nodes(model.graph)
    if changes and all(node.domain != DOMAIN for node in nodes):
        model.opset_imports.pop(DOMAIN, None)
    return changes


def _replace_of(node: ir.Node) -> Replace | None:
    if node.domain != DOMAIN or get_int(node, "channels_last", 0):
        return None
    return _REPLACE.get(node.op_type)
