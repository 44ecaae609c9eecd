"""Equalize: the same answers, channels that use more of the range; what minds is left alone."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.passes.equalize import ChannelStatistics, equalize, equalized_values
from q8tool.passes.scale_groups import scale_groups
from tests.graphs import Array, assert_same, f32, model, proto, random, run

SCALES = f32([1, 0.01, 0.1, 0.03])


def _uneven(*shape: int, axis: int = 0, seed: int = 0) -> Array:
    """Weights whose output channels differ in size."""
    turned = [1] * len(shape)
    turned[axis] = 4
    return random(*shape, seed=seed) * SCALES.reshape(turned)


PICTURE = ("float[1,3,6,6]", "float[1,m,h,w]")
ROWS = ("float[5,3]", "float[n,m]")
MODELS = {
    "relu": (PICTURE, "a = Conv (x, w1, b) r = Relu (a) y = Conv (r, w2)",
             {"w1": _uneven(4, 3, 1, 1), "b": _uneven(4), "w2": random(5, 4, 3, 3)}),
    "depthwise": (PICTURE, "a = Conv (x, w1) y = Conv <group=4> (a, w2)",
                  {"w1": _uneven(4, 3, 1, 1), "w2": random(8, 1, 3, 3)}),
    "groups": (PICTURE, "a = Conv (x, w1) y = Conv <group=2> (a, w2)",
               {"w1": _uneven(4, 3, 1, 1), "w2": random(6, 2, 3, 3)}),
    "sum": (PICTURE, "a = Conv (x, w1) c = Conv (x, w3) d = Add (a, c) r = Relu (d) "
            "p = MaxPool <kernel_shape=[2,2]> (r) y = Conv (p, w2)",
            {"w1": _uneven(4, 3, 1, 1), "w3": _uneven(4, 3, 1, 1, seed=1),
             "w2": random(5, 4, 1, 1)}),
    "gemm": (ROWS, "a = Gemm <transB=1, alpha=0.5> (x, w1, b) r = Relu (a) "
             "y = Gemm <transB=1> (r, w2)",
             {"w1": _uneven(4, 3), "b": _uneven(4), "w2": random(5, 4)}),
    "gemm with a bias of one row": (
        ROWS, "a = Gemm <transB=1> (x, w1, b) y = Gemm <transB=1> (a, w2)",
        {"w1": _uneven(4, 3), "b": _uneven(1, 4, axis=1), "w2": random(5, 4)}),
    "matmul": (ROWS, "a = MatMul (x, w1) y = MatMul (a, w2)",
               {"w1": _uneven(3, 4, axis=1), "w2": random(4, 5)}),
    "norm": (("float[5,4]", "float[n,m]"), "a = LayerNormalization (x, s, b) y = MatMul (a, w2)",
             {"s": SCALES * 3, "b": SCALES, "w2": random(4, 5)}),
}  # fmt: skip


def _model(name: str) -> ir.Model:
    (source, target), text, weights = MODELS[name]
    found = proto(f"g ({source} x) => ({target} y) {{ {text} }}", 17, **weights)
    return ir.from_proto(onnx.shape_inference.infer_shapes(found))


def _sample(graph: ir.Model) -> Array:
    shape = graph.graph.inputs[0].shape
    assert shape is not None
    return random(*shape.numpy(), seed=3)


def _statistics(graph: ir.Model, x: Array) -> dict[str, ChannelStatistics]:
    """By onnxruntime: each value as an output of its own."""
    found = {}
    for name, axis in equalized_values(graph).items():
        copy = graph.clone()
        copy.graph.outputs.append(next(v for n in copy.graph for v in n.outputs if v.name == name))
        value = np.moveaxis(run(copy, x=x)[-1], axis, 0)
        value = value.reshape(len(value), -1).astype(np.float64)
        low, high = value.min(axis=1), value.max(axis=1)
        power = np.square(value).mean(axis=1)
        found[name] = ChannelStatistics(low, high, power, high, value.shape[1])
    return found


@pytest.mark.parametrize("name", MODELS)
def test_same_answers(name: str) -> None:
    """The function stays; the channels' extents come closer to each other."""
    graph = _model(name)
    before, x = graph.clone(), _sample(graph)
    assert equalize(graph, _statistics(graph, x))
    assert_same(before, graph, 1e-5, x=x)

    def spread(one: ir.Model) -> float:
        first = one.graph[0].outputs[0].name or ""
        found = _statistics(one, x)[first]
        extents = np.maximum(found.high, 0) - np.minimum(found.low, 0)
        return float(extents.max() / extents.min())

    assert spread(graph) < 0.7 * spread(before)


@pytest.mark.parametrize(
    "between",
    ["r = Sigmoid (a)", "r = Clip (a, low, high)", "r = Softmax <axis=1> (a)", "r = Add (a, row)"],
)
def test_what_minds_is_left_alone(between: str) -> None:
    """Functions that no factor passes, and a Clip that few values were seen behind."""
    graph = model(
        f"g (float[1,3,6,6] x) => (float[1,m,h,w] y) "
        f"{{ a = Conv (x, w1) {between} y = Conv (r, w2) }}",
        17,
        w1=_uneven(4, 3, 1, 1),
        w2=random(5, 4, 1, 1),
        low=f32(0),
        high=f32(6),
        row=random(4, 1, 1),
    )
    assert equalize(graph, _statistics(graph, _sample(graph))) == []


def test_behind_a_clip_nothing_new_is_cut() -> None:
    """With enough values seen: the same answers for what was seen, although some reach the end."""
    graph = model(
        "g (float[1,3,40,40] x) => (float[1,m,h,w] y) "
        "{ a = Conv (x, w1) r = Clip (a, low, high) y = Conv <group=4> (r, w2) }",
        17,
        w1=_uneven(4, 3, 1, 1) * 5,
        w2=random(4, 1, 1, 1),
        low=f32(0),
        high=f32(6),
    )
    before, x = graph.clone(), random(1, 3, 40, 40)
    statistics = {
        name: ChannelStatistics(one.low, one.high, one.power, one.high, 200_000)
        for name, one in _statistics(graph, x).items()
        if name == "r"
    }
    assert float(statistics["r"].high.max()) == 6.0
    assert equalize(graph, statistics)
    assert_same(before, graph, 1e-5, x=x)


def test_graph_ends_pin() -> None:
    """Inputs and outputs of the graph keep their values."""
    graph = model(
        "g (float[1,3,6,6] x) => (float[1,m,h,w] a, float[1,n,h,w] y) "
        "{ a = Conv (x, w1) y = Conv (a, w2) }",
        17,
        w1=_uneven(4, 3, 1, 1),
        w2=random(5, 4, 1, 1),
    )
    assert scale_groups(graph) == []


# A head that runs on three levels of a pyramid, as detectors have it.
HEAD = " ".join(
    f"p{i} = MaxPool <kernel_shape=[{i},{i}]> (x) a{i} = Conv (p{i}, w1, b) r{i} = Relu (a{i}) "
    f"c{i} = Conv (r{i}, w2) y{i} = Conv (c{i}, w3)"
    for i in (1, 2, 3)
)


def _head(more: str = "", **outputs: str) -> ir.Model:
    results = ", ".join(f"float[1,{m},h{name},w{name}] {name}" for name, m in outputs.items())
    found = proto(
        f"g (float[1,3,6,6] x) => ({results}) {{ {HEAD} {more} }}",
        17,
        w1=_uneven(4, 3, 1, 1),
        b=_uneven(4),
        w2=_uneven(4, 4, 1, 1, seed=1),
        w3=random(5, 4, 1, 1, seed=2),
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(found))


def _weights(graph: ir.Model) -> dict[str, set[str]]:
    """Of every Conv the name of its weights, by the name of its result without the level."""
    found: dict[str, set[str]] = {}
    for node in graph.graph:
        if node.op_type == "Conv":
            weights = node.inputs[1]
            assert weights is not None
            found.setdefault((node.outputs[0].name or "")[0], set()).add(weights.name or "")
    return found


def test_shared_weights_stay_shared() -> None:
    """A head of a detector: one factor for all levels, the same answers, no copy of any weight."""
    graph = _head(y1="5", y2="5", y3="5")
    before, x = graph.clone(), _sample(graph)
    changed = {change.node for change in equalize(graph, _statistics(graph, x))}
    assert changed >= {"r1", "r2", "r3", "c1", "c2", "c3"}
    assert_same(before, graph, 1e-5, x=x)
    assert all(len(names) == 1 for names in _weights(graph).values())


def test_weights_that_others_use_are_left_alone() -> None:
    """One of the levels is an output: neither its weights nor their twins are scaled."""
    graph = _head(c1="4", y2="5", y3="5")
    before, x = graph.clone(), _sample(graph)
    changed = {change.node for change in equalize(graph, _statistics(graph, x))}
    assert changed == {"a1", "a2", "a3", "r1", "r2", "r3"}
    assert_same(before, graph, 1e-5, x=x)
    assert all(len(names) == 1 for names in _weights(graph).values())


def test_layers_that_repeat() -> None:
    """The same weights one after the other: by one factor along rows and columns, or not at all."""
    graph = model(
        "g (float[5,3] x) => (float[n,m] y) "
        "{ a = MatMul (x, w1) c = MatMul (a, w2) d = MatMul (c, w2) y = MatMul (d, w3) }",
        17,
        w1=_uneven(3, 4, axis=1),
        w2=_uneven(4, 4, axis=1, seed=1),
        w3=random(4, 5),
    )
    before, x = graph.clone(), _sample(graph)
    assert equalize(graph, _statistics(graph, x))
    assert_same(before, graph, 1e-5, x=x)
    assert graph.graph[1].inputs[1] is graph.graph[2].inputs[1]
