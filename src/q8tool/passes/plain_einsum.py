"""Plain Einsum: a product of two tensors that it spells in letters becomes a MatMul.

bqhd,bkhd->bhqk    Transpose(a) [b,h,q,d] x Transpose(b) [b,h,d,k] -> [b,h,q,k]
abc,cd->abd        MatMul(a, b)
...si,...id->...sd as asi,aid->asd, with a letter for each dimension of which nothing is said
bqc,bchw->bqhw     MatMul(a, Reshape(b) [b,c,hw]), Reshape -> [b,q,h,w]

Attention is written so by some exporters, and masks of segmentation. What a MatMul does not do
stays: more than two tensors, traces, letters that are summed within one tensor, several that are
summed or left over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_letters

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, get_string, make_initializer, node_label

__all__ = ["plain_einsum"]


def plain_einsum(model: ir.Model) -> list[Change]:
    """Rewrites every Einsum that is a matrix product, in place, subgraphs included."""
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            if node.domain == "" and node.op_type == "Einsum":
                found = _found(node)
                if found is not None:
                    changes.append(Change("plain_einsum", node_label(node), "a MatMul"))
                    equation, product = found
                    if equation.merged:
                        _merge(graph, node, equation, names)
                    _rewrite(graph, node, product, names)
    return changes


@dataclass(frozen=True)
class _Equation:
    """The letters of both tensors and of the result.

    merged  letters at the end of one tensor and of the result that count as one, its last
    place   which tensor they end
    """

    sides: tuple[str, str]
    wanted: str
    merged: str = ""
    place: int = 0


def _found(node: ir.Node) -> "tuple[_Equation, _Product] | None":
    """How a node is one matrix product, of many at most; None if it is not."""
    equation = _equation(node)
    if equation is None or not all(map(_is_plain, (*equation.sides, equation.wanted))):
        return None
    for candidate in (equation, *_with_merged(equation)):
        product = _product_of(candidate)
        if product is not None:
            return candidate, product
    return None


def _equation(node: ir.Node) -> _Equation | None:
    """Of two tensors, with letters for what an ellipsis stands for."""
    words = get_string(node, "equation", "").replace(" ", "")
    terms, arrow, wanted = words.partition("->")
    sides = terms.split(",")
    if not arrow or len(sides) != 2 or len(node.inputs) != 2:
        return None
    if "..." not in words:
        return _Equation((sides[0], sides[1]), wanted)
    counts = set()
    for side, value in zip(sides, node.inputs, strict=True):
        if value is None or value.shape is None or "..." not in side:
            return None
        counts.add(len(value.shape) - len(side.replace("...", "")))
    free = "".join(letter for letter in ascii_letters if letter not in words)
    if len(counts) != 1 or not 0 <= (count := counts.pop()) <= len(free):
        return None
    first, second, wanted = (text.replace("...", free[:count]) for text in (*sides, wanted))
    return _Equation((first, second), wanted)


def _with_merged(equation: _Equation) -> Iterator[_Equation]:
    """The same with letters at the end of one tensor and of the result as one."""
    for place, side in enumerate(equation.sides):
        other, wanted = equation.sides[1 - place], equation.wanted
        count = 0
        while count < min(len(side), len(wanted)) and side[-1 - count] == wanted[-1 - count]:
            if side[-1 - count] in other:
                break
            count += 1
        if count > 1:
            merged = side[-count:]
            short = side[:-count] + merged[-1]
            sides = (short, other) if place == 0 else (other, short)
            yield _Equation(sides, wanted[:-count] + merged[-1], merged, place)


@dataclass(frozen=True)
class _Product:
    """How the letters of a product lie."""

    sides: tuple[str, str]  # as they come
    turned: tuple[str, str]  # as MatMul reads them
    made: str  # as MatMul writes them
    wanted: str
    swaps: bool  # the second tensor is MatMul's first


def _product_of(equation: _Equation) -> _Product | None:
    """That with the fewest Transposes; None if it is not one matrix product, of many at most."""
    sides, wanted = equation.sides, equation.wanted
    products = []
    for swaps in (False, True):
        left, right = (sides[1], sides[0]) if swaps else sides
        found = _ordered(left, right, wanted)
        if found is not None:
            products.append(_Product((left, right), found[:2], found[2], wanted, swaps))
    return min(products, key=_turns, default=None)


def _turns(product: _Product) -> int:
    """How many Transposes it takes."""
    pairs = zip((*product.sides, product.wanted), (*product.turned, product.made), strict=True)
    return sum(came != read for came, read in pairs)


def _is_plain(letters: str) -> bool:
    """No trace."""
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


def _merge(graph: ir.Graph, node: ir.Node, equation: _Equation, names: Names) -> None:
    """Reshapes the tensor whose letters are merged, and the result back."""
    whole, result = node.inputs[equation.place], node.outputs[0]
    assert whole is not None
    before, count = len(equation.sides[equation.place]) - 1, len(equation.merged)
    short = make_initializer(graph, names.new("merged"), np.asarray([0] * before + [-1], np.int64))
    reshape = ir.node("Reshape", [whole, short], name=names.new(f"{whole.name}_merged"))
    flat = reshape.outputs[0]
    flat.name, flat.type = names.new(f"{whole.name}_flat"), whole.type
    graph.insert_before(node, reshape)
    node.replace_input_with(equation.place, flat)
    axes = make_initializer(graph, names.new("axes"), np.arange(before, before + count))
    kept = make_initializer(graph, names.new("kept"), np.zeros(len(equation.wanted) - 1, np.int64))
    sizes = ir.node("Shape", [whole], name=names.new(f"{whole.name}_sizes"))
    some = ir.node("Gather", [sizes.outputs[0], axes], {"axis": 0}, name=names.new("sizes"))
    shape = ir.node("Concat", [kept, some.outputs[0]], {"axis": 0}, name=names.new("shape"))
    back = ir.node("Reshape", [None, shape.outputs[0]], name=names.new(f"{result.name}_back"))
    for made in (sizes, some, shape):
        made.outputs[0].name = names.new(f"{made.name}_0")
        made.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    graph.insert_after(node, [sizes, some, shape, back])
    _take_place(result, back.outputs[0], names)
    back.replace_input_with(0, result)


def _take_place(old: ir.Value, new: ir.Value, names: Names) -> None:
    """The new value has the old one's name, type, shape and readers."""
    new.name, old.name = old.name, names.new(f"{old.name}_einsum")
    new.type, new.shape, old.shape = old.type, old.shape, None
    old.replace_all_uses_with(new, replace_graph_outputs=True)


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
    _take_place(result, made, names)
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
