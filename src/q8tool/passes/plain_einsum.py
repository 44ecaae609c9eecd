"""Plain Einsum: a product of two tensors that it spells in letters becomes a MatMul.

bqhd,bkhd->bhqk    Transpose(a) [b,h,q,d] x Transpose(b) [b,h,d,k] -> [b,h,q,k]
abc,cd->abd        MatMul(a, b)

Attention is written so by some exporters. What a MatMul does not do stays: more than two tensors,
traces, letters that are summed within one tensor, several that are summed or left over.
"""

from dataclasses import dataclass

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, get_string, node_label

__all__ = ["plain_einsum"]


def plain_einsum(model: ir.Model) -> list[Change]:
    """Rewrites every Einsum that is a matrix product, in place, subgraphs included."""
    changes = []
    names = Names(model.graph)
    for graph in model.graphs():
        for node in list(graph):
            if node.domain == "" and node.op_type == "Einsum":
                product = _product_of(node)
                if product is not None:
                    changes.append(Change("plain_einsum", node_label(node), "a MatMul"))
                    _rewrite(graph, node, product, names)
    return changes


@dataclass(frozen=True)
class _Product:
    """How the letters of a product lie."""

    sides: tuple[str, str]  # as they come
    turned: tuple[str, str]  # as MatMul reads them
    made: str  # as MatMul writes them
    wanted: str
    swaps: bool  # the second tensor is MatMul's first


def _product_of(node: ir.Node) -> _Product | None:
    """None if it is not one matrix product, of many at most."""
    words = get_string(node, "equation", "").replace(" ", "")
    terms, arrow, wanted = words.partition("->")
    sides = terms.split(",")
    if not arrow or len(sides) != 2 or not all(map(_is_plain, (*sides, wanted))):
        return None
    for swaps in (False, True):
        left, right = reversed(sides) if swaps else sides
        found = _ordered(left, right, wanted)
        if found is not None:
            return _Product((left, right), found[:2], found[2], wanted, swaps)
    return None


def _is_plain(letters: str) -> bool:
    """No ellipsis, no trace."""
    return letters.isalpha() and len(set(letters)) == len(letters)


def _ordered(left: str, right: str, wanted: str) -> tuple[str, str, str] | None:
    """The letters of both sides and of the result, as MatMul has them."""
    summed = [letter for letter in left if letter in right and letter not in wanted]
    batch = "".join(letter for letter in wanted if letter in left and letter in right)
    rows = "".join(letter for letter in wanted if letter in left and letter not in right)
    columns = "".join(letter for letter in wanted if letter in right and letter not in left)
    if len(summed) != 1 or len(columns) != 1 or not rows or (batch and len(rows) != 1):
        return None
    if len(batch + rows) + 1 != len(left) or len(batch) + 2 != len(right):
        return None
    if len(batch + rows + columns) != len(wanted):
        return None
    return batch + rows + summed[0], batch + summed[0] + columns, batch + rows + columns


def _rewrite(graph: ir.Graph, node: ir.Node, product: _Product, names: Names) -> None:
    result = node.outputs[0]
    inputs = reversed(node.inputs) if product.swaps else node.inputs
    sides = [
        _turned(graph, node, side, came, read, names)
        for side, came, read in zip(inputs, product.sides, product.turned, strict=True)
    ]
    is_last = product.made == product.wanted
    name = node.name or names.new(f"{result.name}_product")
    matmul = ir.node("MatMul", sides, name=name if is_last else names.new(f"{name}_product"))
    made = matmul.outputs[0]
    made.type = result.type
    graph.insert_before(node, matmul)
    if not is_last:
        made.name = names.new(f"{result.name}_product")
        perm = [product.made.index(letter) for letter in product.wanted]
        turn = ir.node("Transpose", [made], {"perm": perm}, name=name)
        graph.insert_before(node, turn)
        made = turn.outputs[0]
        made.type = result.type
    made.shape = result.shape
    kept = result.name
    result.name = names.new(f"{kept}_einsum")
    made.name = kept
    result.replace_all_uses_with(made, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _turned(
    graph: ir.Graph, node: ir.Node, value: ir.Value | None, came: str, read: str, names: Names
) -> ir.Value:
    """The value with its dimensions in the order of read."""
    assert value is not None
    if came == read:
        return value
    perm = [came.index(letter) for letter in read]
    name = names.new(f"{value.name}_turned")
    turn = ir.node("Transpose", [value], {"perm": perm}, name=name)
    turned = turn.outputs[0]
    turned.name, turned.type = name, value.type
    if value.shape is not None:
        turned.shape = ir.Shape([value.shape[axis] for axis in perm])
    graph.insert_before(node, turn)
    return turned
