"""Walk: piece by piece gives what the whole gives, and sees changed weights."""

import numpy as np
import onnx_ir as ir

from q8tool.calibrate.walk import Walk
from tests.graphs import Array, f32, i64, model, random, run

TEXT = """g (float[1,2,4,4] x) => (float y, float z) {
    a = Conv (x, w1)
    b = Relu (a)
    c = Conv (b, w2)
    d = Add (b, c)
    y = Sigmoid (d)
    z = Relu (c)
}"""


def _model() -> ir.Model:
    return model(TEXT, w1=random(2, 2, 1, 1), w2=random(2, 2, 1, 1, seed=1))


def _value(graph: ir.Model, name: str) -> ir.Value:
    return next(v for node in graph.graph for v in node.outputs if v.name == name)


def _samples() -> list[dict[str, Array]]:
    return [{"x": random(1, 2, 4, 4, seed=seed)} for seed in range(3)]


def test_pieces_give_the_whole() -> None:
    """Every value on the way, with what is read again later."""
    graph, samples = _model(), _samples()
    walk = Walk(graph, samples, 1)
    walk.advance(_value(graph, "b"))
    walk.advance(_value(graph, "c"))
    [ys, zs] = walk.advance(_value(graph, "y"), _value(graph, "z"))
    for sample, y, z in zip(samples, ys, zs, strict=True):
        wanted = run(graph, **sample)
        np.testing.assert_allclose(y, wanted[0], atol=1e-5)
        np.testing.assert_allclose(z, wanted[1], atol=1e-5)


def test_weights_may_change_on_the_way() -> None:
    """A constant that is set before its reader runs is the one that runs."""
    graph, samples = _model(), _samples()
    walk = Walk(graph, samples, 1)
    walk.advance(_value(graph, "b"))
    other = f32(np.eye(2)).reshape(2, 2, 1, 1)
    graph.graph.initializers["w2"].const_value = ir.Tensor(other, name="w2")
    [zs] = walk.advance(_value(graph, "z"))
    for sample, z in zip(samples, zs, strict=True):
        np.testing.assert_allclose(z, run(graph, **sample)[1], atol=1e-5)


def test_nothing_stays_that_nobody_reads() -> None:
    """What is over is let go."""
    graph, samples = _model(), _samples()
    walk = Walk(graph, samples, 1)
    walk.advance(_value(graph, "c"))
    assert walk.held() == {"b", "c"}


def test_what_bodies_read_is_there_and_goes_when_they_have_run() -> None:
    text = """g (float[2,4] x) => (float[2,4] y) {
        a = MatMul (x, w)
        s = ReduceSum <keepdims = 0> (a)
        z = Greater (s, zero)
        b = If (z) <then_branch = t () => (float[2,4] u) { u = MatMul (a, w) },
                    else_branch = e () => (float[2,4] v) { v = Neg (a) }>
        c = Relu (b)
        y = MatMul (c, w)
    }"""
    graph = model(text, w=random(4, 4), zero=f32(0))
    samples = [{"x": random(2, 4, seed=seed)} for seed in range(4)]
    walk = Walk(graph, samples, 1)
    [found] = walk.advance(_value(graph, "a"))
    np.testing.assert_allclose(found[1], samples[1]["x"] @ random(4, 4), atol=1e-5)
    assert walk.held() == {"a"}
    walk.advance(_value(graph, "c"))
    assert walk.held() == {"c"}
    [ys] = walk.advance(_value(graph, "y"))
    for sample, y in zip(samples, ys, strict=True):
        np.testing.assert_allclose(y, run(graph, **sample)[0], atol=1e-5)


def test_looks_see_what_advancing_returns() -> None:
    """Several values in one piece, one of them twice; what is read later stays."""
    graph, samples = _model(), _samples()
    values = [_value(graph, name) for name in ("b", "c", "b")]
    walk = Walk(graph, samples, 1)
    found = walk.look([(value, lambda array, index: array + index) for value in values])
    assert walk.held() == {"b", "c"}
    wanted = Walk(graph, samples, 1).advance(*values)
    for arrays, parts in zip(wanted, found, strict=True):
        for index, (array, part) in enumerate(zip(arrays, parts, strict=True)):
            np.testing.assert_array_equal(part, array + index)
    [again] = walk.look([(values[1], lambda array, index: -array)])
    np.testing.assert_array_equal(again[2], -wanted[1][2])


def test_samples_of_other_sizes() -> None:
    """How many rows there are follows from values: a piece fits all samples."""
    graph = model(
        """g (float[6,4] x) => (float[n,4] y) {
            s = ReduceSum<keepdims=0>(x, one) k = Greater(s, zero) f = Compress<axis=0>(x, k)
            a = MatMul(f, w) y = Relu(a) }""",
        w=random(4, 4), zero=f32(0), one=i64([1]),
    )  # fmt: skip
    samples = [{"x": random(6, 4, seed=seed)} for seed in range(4)]
    walk = Walk(graph, samples, 1)
    [found] = walk.advance(_value(graph, "f"))
    assert len({len(rows) for rows in found}) > 1
    walk.advance(_value(graph, "a"))
    [ys] = walk.advance(_value(graph, "y"))
    for sample, y in zip(samples, ys, strict=True):
        np.testing.assert_allclose(y, run(graph, **sample)[0], atol=1e-5)
