"""set_inference_mode: training leftovers become inference."""

import numpy as np

from q8tool.passes.set_inference_mode import set_inference_mode
from tests.graphs import assert_same, f32, model, ops, random


def test_batchnorm_uses_the_trained_statistics() -> None:
    nodes = "BatchNormalization{}(x, s, b, m, v)"
    head = "g (float[2,3,4,4] x) => (float[2,3,4,4] y)"
    weights = {"s": random(3), "b": random(3), "m": random(3), "v": random(3, low=0.1)}
    graph = model(f"{head} {{ y, rm, rv = {nodes.format('<training_mode=1>')} }}", 15, **weights)
    wanted = model(f"{head} {{ y = {nodes.format('')} }}", 15, **weights)
    assert len(set_inference_mode(graph)) == 1
    assert_same(wanted, graph, x=random(2, 3, 4, 4))
    assert set_inference_mode(graph) == []


def test_batchnorm_that_only_its_outputs_make_train() -> None:
    head = "g (float[2,3,4,4] x) => (float[2,3,4,4] y)"
    weights = {"s": random(3), "b": random(3), "m": random(3), "v": random(3, low=0.1)}
    graph = model(f"{head} {{ y, a, c, d, e = BatchNormalization(x, s, b, m, v) }}", 11, **weights)
    wanted = model(f"{head} {{ y = BatchNormalization(x, s, b, m, v) }}", 11, **weights)
    assert len(set_inference_mode(graph)) == 1
    assert_same(wanted, graph, x=random(2, 3, 4, 4))


def test_dropout_drops_nothing() -> None:
    text = "g (float[2] x) => (float[2] y) { a, m = Dropout(x, r, on)  y = Relu(a) }"
    graph = model(text, r=f32(0.5), on=np.array(True))
    set_inference_mode(graph)
    wanted = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    assert_same(wanted, graph, x=random(2))


def test_statistics_that_somebody_reads_keep_it_in_training() -> None:
    text = """g (float[2,3,4,4] x) => (float[2,3,4,4] y, float[3] rm) {
        y, rm, rv = BatchNormalization<training_mode=1>(x, s, b, m, v) }"""
    graph = model(text, 15, s=random(3), b=random(3), m=random(3), v=random(3, low=0.1))
    assert set_inference_mode(graph) == []
    assert len(graph.graph[0].outputs) == 3


def test_must_not_fire_in_inference() -> None:
    graph = model("g (float[2] x) => (float[2] y) { a = Dropout(x)  y = Relu(a) }")
    assert set_inference_mode(graph) == []
    assert ops(graph) == ["Dropout", "Relu"]
