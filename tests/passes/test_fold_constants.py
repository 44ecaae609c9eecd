"""fold_constants: what is computed now, what must not be, and that the file cannot blow up."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.model import shapes
from q8tool.passes.fold_constants import fold_constants
from tests.graphs import assert_same, f32, i8, i64, model, ops, random, weight


def test_a_chain_of_weights() -> None:
    text = """g (float[2,3] x) => (float[2,4] y) {
        t = Transpose(w)  s = Mul(t, k)  y = MatMul(x, s) }"""
    before = model(text, w=random(4, 3), k=f32(2))
    after = before.clone()
    assert [c.node for c in fold_constants(after)] == ["Transpose 't'", "Mul 's'"]
    assert ops(after) == ["MatMul"]
    np.testing.assert_array_equal(weight(after, "s"), random(4, 3).T * 2)
    assert_same(before, after, x=random(2, 3))
    assert fold_constants(after) == []


def test_shape_arithmetic_of_known_dimensions() -> None:
    text = """g (float[1,3,4,4] x) => (float[1,48] y) {
        s = Shape(x)  i = Constant<value=int64[1]{0}>()  n = Gather(s, i)
        r = Constant<value=int64[1]{-1}>()  t = Concat<axis=0>(n, r)  y = Reshape(x, t) }"""
    before = model(text)
    after = before.clone()
    fold_constants(after)
    assert [op for op in ops(after) if op != "Constant"] == ["Reshape"]
    assert weight(after, "t").tolist() == [1, -1]
    assert_same(before, after, x=random(1, 3, 4, 4))


def test_shape_takes_start_and_end() -> None:
    text = """g (float[5,6,7,8] x) => (float[6,280] y) {
        s = Shape<start=1,end=-2>(x)  r = Constant<value=int64[1]{-1}>()
        t = Concat<axis=0>(s, r)  y = Reshape(x, t) }"""
    before = model(text, 15)
    after = before.clone()
    fold_constants(after)
    assert weight(after, "t").tolist() == [6, -1]
    assert_same(before, after, x=random(5, 6, 7, 8))


def test_size_and_several_outputs() -> None:
    text = """g (float[2,3] x) => (float[2,3] y) {
        n = Size(x)  f = Cast<to=1>(n)  a, b = Split<axis=0>(w)
        s = Add(a, b)  k = Mul(s, f)  y = Add(x, k) }"""
    before = model(text, w=random(2, 3))
    after = before.clone()
    fold_constants(after)
    assert ops(after) == ["Add"]
    assert_same(before, after, x=random(2, 3))


def test_int8_weights_are_not_made_float() -> None:
    text = """g (float[2,3] x) => (float[2,4] y) {
        w = DequantizeLinear<axis=1>(codes, scale)  t = Mul(w, k)  y = MatMul(x, t) }"""
    graph = model(text, codes=np.ones((3, 4), np.int8), scale=np.ones(4, np.float32), k=f32(2))
    assert fold_constants(graph) == []
    assert ops(graph) == ["DequantizeLinear", "Mul", "MatMul"]


def test_float_weights_behind_quantize_become_codes() -> None:
    text = """g (float[2,2] x) => (float[2,2] y) {
        q = QuantizeLinear(w, scale, zero)  d = DequantizeLinear(q, scale, zero)
        y = MatMul(x, d) }"""
    before = model(text, w=f32([[0.5, 1.5], [2.5, -100]]), scale=f32(1), zero=i8(1))
    after = before.clone()
    fold_constants(after)
    # Half to even, then the zero point, then saturated.
    assert weight(after, "q").tolist() == [[1, 3], [3, -99]]
    assert ops(after) == ["DequantizeLinear", "MatMul"]
    assert_same(before, after, x=random(2, 2))


@pytest.mark.parametrize(
    "nodes",
    [
        "z = ConstantOfShape<value=float[1]{1.0}>(big)  y = Add(x, z)",
        "z = Expand(one, big)  y = Add(x, z)",
        "z = Tile(one, big)  y = Add(x, z)",
    ],
)
def test_large_results_of_small_inputs_stay_computed(nodes: str) -> None:
    text = f"g (float[1000,1000] x) => (float[1000,1000] y) {{ {nodes} }}"
    graph = model(text, big=i64([1000, 1000]), one=np.ones((1, 1), np.float32))
    assert fold_constants(graph) == []
    assert fold_constants(graph, max_growth=4_000_000) != []


def test_a_terabyte_is_not_even_tried() -> None:
    text = """g (int64[1] x) => (int64[1] y) {
        a = Mul(n, n)  z = ConstantOfShape<value=int64[1]{7}>(a)
        r = ReduceMax<keepdims=0>(z)  y = Add(x, r) }"""
    graph = model(text, n=i64([1_000_000]))
    fold_constants(graph)
    assert "ConstantOfShape" in ops(graph)


@pytest.mark.parametrize(
    "nodes",
    [
        "r = RandomNormal<shape=[2,3],seed=1.0>()  y = Add(x, r)",
        "r = RandomUniformLike(w)  y = Add(x, r)",
        "r = Bernoulli(w)  y = Add(x, r)",
    ],
)
def test_random_numbers_stay_random(nodes: str) -> None:
    graph = model(f"g (float[2,3] x) => (float[2,3] y) {{ {nodes} }}", 15, w=random(2, 3))
    before = ops(graph)
    assert fold_constants(graph) == []
    assert ops(graph) == before


def test_a_constant_graph_output_stays_computed() -> None:
    graph = model("g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Relu(w) }",
                  w=random(2))  # fmt: skip
    assert fold_constants(graph) == []


def test_what_nobody_implements_stays() -> None:
    text = """<ir_version: 8, opset_import: ["": 13, "mine": 1]>
        g (float[2] x) => (float[2] y) { k = mine.Secret(w)  y = Add(x, k) }"""
    graph = model(text, w=random(2))
    assert fold_constants(graph) == []


def test_inside_a_subgraph() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <
            then_branch = a () => (float[2] p) { k = Mul(w, w)  p = Add(x, k) },
            else_branch = b () => (float[2] q) { q = Identity(x) }> }"""
    before = model(text, w=random(2))
    after = before.clone()
    assert [c.node for c in fold_constants(after)] == ["Mul 'k'"]
    for condition in (True, False):
        assert_same(before, after, c=np.array(condition), x=random(2))


def test_one_walk_follows_shapes_through_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer asks for the last one's shape, by arithmetic that onnx does not follow."""
    layers = 12
    text = "g (float[6,8] x0) => (float[a,b] y) {\n" + "".join(
        f"""s{i} = Shape(x{i})  m{i} = Mod(s{i}, wide)  d{i} = Add(m{i}, none)
            t{i} = Gather(d{i}, turn)  x{i + 1} = Reshape(x{i}, t{i})\n"""
        for i in range(layers)
    )
    constants = {"wide": i64([100, 100]), "none": i64([0, 0]), "turn": i64([1, 0])}
    before = model(text + f"y = Identity(x{layers}) }}", **constants)
    after = before.clone()
    calls = []
    infer = shapes.infer_shapes

    def counted(model: ir.Model, *, through_values: bool = True) -> None:
        calls.append(through_values)
        infer(model, through_values=through_values)

    monkeypatch.setattr(shapes, "infer_shapes", counted)
    fold_constants(after)
    assert ops(after) == ["Reshape"] * layers + ["Identity"]
    assert len(calls) == 2  # before the walk, and to see that no more can be done
    assert_same(before, after, x0=random(6, 8))
