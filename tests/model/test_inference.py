"""What onnx is asked about a model, and what of its answer reaches the values."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.model.graph import all_graphs, all_nodes, bodies
from q8tool.model.inference import inferred_types
from q8tool.model.shapes import infer_shapes
from tests.graphs import i64, model, random

NESTED = """g (float[2,3] x, bool a, bool b) => (float[N,M] y) {
    first = Relu(x)
    y = If(a) <
        then_branch = t () => (float[P,Q] one) {
            inner = Transpose(first)
            one = If(b) <
                then_branch = tt () => (float[R,S] deep) { d = Neg(inner)  deep = Abs(d) },
                else_branch = te () => (float[T,U] flat) { flat = MatMul(x, inner) }> },
        else_branch = e () => (float[V,W] two) { p = Neg(first)  two = Concat<axis=0>(x, p) }> }"""


def shapes(graph: ir.Model) -> dict[str, str]:
    return {str(v.name): str(v.shape) for n in all_nodes(graph.graph) for v in n.outputs}


def test_order_of_nodes_and_graphs() -> None:
    graph = model(NESTED)
    assert list(all_nodes(graph.graph)) == list(ir.traversal.RecursiveGraphIterator(graph.graph))
    assert list(all_graphs(graph)) == list(graph.graphs())
    assert [one.name for one in all_graphs(graph)] == ["g", "t", "tt", "te", "e"]


def test_nodes_that_are_removed_meanwhile() -> None:
    graph = model(NESTED)
    seen = []
    for node in all_nodes(graph.graph):
        seen.append(node.op_type)
        if node.op_type == "If" and node.graph is graph.graph:
            graph.graph.remove(node)
    assert seen == ["Relu", "If", "Transpose", "If", "Neg", "Abs", "MatMul", "Neg", "Concat"]
    assert [node.op_type for node in graph.graph] == ["Relu"]


def test_values_inside_of_bodies() -> None:
    graph = model(NESTED)
    infer_shapes(graph)
    found = shapes(graph)
    assert {name: found[name] for name in ("first", "inner", "d", "p")} == {
        "first": "[2,3]", "inner": "[3,2]", "d": "[3,2]", "p": "[2,3]",
    }  # fmt: skip
    assert (found["deep"], found["flat"], found["two"]) == ("[3,2]", "[2,2]", "[4,3]")


@pytest.mark.parametrize("through_values", [False, True])
def test_the_same_as_onnx_of_the_whole_file(through_values: bool) -> None:
    text = """g (float[N,4,6] x) => (float[A,B] y) {
        s = Shape(x)  n = Gather(s, zero)  t = Concat<axis=0>(n, rest)
        r = Reshape(x, t)  m = MatMul(r, w)  z = Add(m, k)  y = Relu(z) }"""
    graph = model(text, zero=i64([0]), rest=i64([-1]), w=random(24, 50), k=random(1, 50))
    weight = graph.graph.initializers.pop("w")
    large = ir.node("Constant", [], {"value": ir.tensor(random(24, 50))})
    graph.graph.insert_before(graph.graph[0], large)
    weight.replace_all_uses_with(large.outputs[0])
    large.outputs[0].name = "w"
    expected = onnx.shape_inference.infer_shapes(ir.to_proto(graph), data_prop=through_values).graph
    wanted = {info.name: info.type for info in (*expected.value_info, *expected.output)}
    given = {v.name: k for v, k in inferred_types(graph, through_values=through_values)}
    assert set(given) >= {"s", "n", "t", "r", "m", "z", "y", "w"}
    for name, kind in given.items():
        assert sizes(kind) == sizes(wanted[str(name)]), name


def sizes(kind: onnx.TypeProto) -> tuple[int, list[int | None]]:
    dims = kind.tensor_type.shape.dim
    known = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    return kind.tensor_type.elem_type, known


def test_large_numbers_are_not_asked_about() -> None:
    """Nor do constants of text, of which onnx makes no sizes, come between."""
    graph = model("g (float[2,3000] x) => (float[A,B] y) { y = Mul(x, w) }", w=random(1, 3000))
    graph.graph.register_initializer(
        ir.Value(name="words", const_value=ir.tensor(np.asarray(["a", "b"], object), name="words"))
    )
    infer_shapes(graph)
    assert shapes(graph) == {"y": "[2,3000]"}


def test_a_list_of_graphs_in_an_attribute() -> None:
    """No operator of the standard has one; whoever's has, its bodies are walked as well."""
    graph = model(NESTED)
    _, _, inner, other, _ = all_graphs(graph)
    node = next(node for node in all_nodes(graph.graph) if bodies(node)[:1] == [inner])
    node.attributes.clear()
    node.attributes["many"] = ir.AttrGraphs("many", [inner, other])
    assert bodies(node) == [inner, other]
    infer_shapes(graph)
    assert shapes(graph)["p"] == "[2,3]"


def test_a_list_without_end_that_is_fed() -> None:
    """onnx, following values, would look at each of its 2 ** 31 numbers."""
    graph = model(
        "g (float[20,10] x, int64[2147483648] s) => (float[A,B] y) { y = Slice(x, s, s, s, s) }"
    )
    infer_shapes(graph)
    assert len(shapes(graph)) == 1
