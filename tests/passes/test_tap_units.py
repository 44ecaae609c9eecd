"""Twins beside the units: their noise is that of each operator rewritten on its own."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.model.graph import constant
from q8tool.numerics.compare import sqnr_db
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.tap_units import tap_units
from q8tool.pipelines.damage import Damage
from tests.graphs import Array, f32, model, random, run

TEXT = """g (float[1,4,6,6] x) => (float[1,5] y) {
    c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) a = Add(r, x) s = Sigmoid(a)
    p = GlobalAveragePool(s) f = Flatten(p) y = Gemm<transB=1, alpha=2.0>(f, k, d) }"""
WEIGHTS = {"w": random(4, 4, 3, 3), "b": random(4), "k": random(5, 4), "d": random(5)}
VALUES = ["x", "c", "r", "a", "s", "p", "f", "y"]


def observed(x: Array) -> dict[str, Array]:
    text = TEXT.replace(
        "=> (float[1,5] y)",
        "=> (float[1,5] y, float[1,4,6,6] c, float[1,4,6,6] r, float[1,4,6,6] a, "
        "float[1,4,6,6] s, float[1,4,1,1] p, float[1,4] f)",
    )
    values = dict(
        zip(["y", "c", "r", "a", "s", "p", "f"], run(model(text, **WEIGHTS), x=x), strict=True)
    )
    return {"x": x, **values}


def test_noise_of_a_unit_is_that_of_its_eight_bit_form() -> None:
    x = random(1, 4, 6, 6)
    values = observed(x)
    ranges = {name: (float(v.min()), float(v.max())) for name, v in values.items()}
    graph = model(TEXT, **WEIGHTS)
    for node in graph.graph:
        node.name = node.outputs[0].name
    choice = choose_precision(graph, ranges)
    taps = tap_units(graph, choice, ranges)
    assert sorted(taps) == ["a", "c", "p", "s", "y"]
    graph.graph.outputs.extend(
        value
        for node in graph.graph
        for value in node.outputs
        if value.name in {name for pair in taps.values() for name in pair}
    )
    names = [value.name or "" for value in graph.graph.outputs]
    results = dict(zip(names, run(graph, x=x), strict=True))
    for name, (noise, signal) in taps.items():
        output = {"c": "r"}.get(name, name)
        alone = alone_in_eight_bits(name, ranges)
        wanted = values[output]
        expected = float(np.square(alone(x, values) - wanted).sum())
        assert float(results[signal]) == pytest.approx(float(np.square(wanted).sum()), rel=1e-4)
        assert float(results[noise]) == pytest.approx(expected, rel=1e-2, abs=1e-6), name
        assert sqnr_db(wanted, alone(x, values)) > 25


def alone_in_eight_bits(name: str, ranges: dict[str, tuple[float, float]]):  # type: ignore[no-untyped-def]
    """The operator alone, rewritten by insert_conversions; a follower wants codes of its result."""
    body, result = {
        "c": ("c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c)", "r"),
        "a": ("a = Add(r, x)", "a"),
        "s": ("s = Sigmoid(a)", "s"),
        "p": ("p = GlobalAveragePool(s)", "p"),
        "y": ("y = Gemm<transB=1, alpha=2.0>(f, k, d)", "y"),
    }[name]
    inputs = {"c": ["x"], "a": ["r", "x"], "s": ["a"], "p": ["s"], "y": ["f"]}[name]

    def compute(x: Array, values: dict[str, Array]) -> Array:
        if name in ("a", "s", "p"):
            low, high = (min(0.0, ranges[result][0]), max(0.0, ranges[result][1]))
            scale = np.float32((high - low) / 255)
            zero = np.rint(-low / scale)
            return (np.clip(np.rint(values[result] / scale) + zero, 0, 255) - zero) * scale  # type: ignore[no-any-return]
        signature = ", ".join(f"float[{','.join(map(str, values[i].shape))}] {i}" for i in inputs)
        shape = ",".join(map(str, values[result].shape))
        weights = {
            key: value for key, value in WEIGHTS.items() if f" {key}" in body or f"{key})" in body
        }
        graph = model(f"g ({signature}) => (float[{shape}] {result}) {{ {body} }}", **weights)
        choice = choose_precision(graph, ranges)
        if name == "c":
            choice.wanted.add(result)
        insert_conversions(graph, choice, ranges)
        return run(graph, **{i: values[i] for i in inputs})[0]

    return compute


def test_ranking_and_decibels() -> None:
    damage = Damage({"a": 0.001, "b": 0.1, "c": 0.0, "d": 0.001})
    assert damage.ranked == ["b", "a", "d", "c"]
    assert damage.sqnr_db("b") == pytest.approx(10.0)
    assert damage.sqnr_db("c") is None
    assert damage.sqnr_db("none") is None


def test_constants_and_products_of_activations() -> None:
    text = """g (float[2,3] x) => (float[2,2] y) {
        h = Mul(x, m) t = Transpose<perm=[1,0]>(h) q = MatMul(h, t) y = MatMul(q, w) }"""
    graph = model(text, m=f32([[1, 2, 3]]), w=random(2, 2))
    ranges = dict.fromkeys(("x", "h", "t", "q", "m"), (-9.0, 9.0))
    choice = choose_precision(graph, ranges)
    taps = tap_units(graph, choice, ranges)
    assert len(taps) == 3
    assert np.isfinite(run(graph, x=random(2, 3))[0]).all()


def test_weights_of_two_operators_have_the_scale_that_they_get_in_the_end() -> None:
    text = "g (float[1,4,4,4] x) => (float[1,4,4,4] y) { a = Conv(x, w) y = Conv(a, w) }"
    weights = {"w": random(4, 4, 1, 1)}
    graph = model(text, **weights)
    ranges = {"x": (0.0, 1.0), "a": (-3.0, 3.0), "y": (-9.0, 9.0)}
    choice = choose_precision(graph, ranges)
    tap_units(graph, choice, ranges)
    tapped = _scales(graph)
    graph = model(text, **weights)
    insert_conversions(graph, choose_precision(graph, ranges), ranges)
    assert len(tapped) == 2
    for scale in tapped:
        np.testing.assert_array_equal(scale, _scales(graph)[0])


def _scales(graph: ir.Model) -> list[Array]:
    """Of all weights in codes."""
    reads = [node.inputs for node in graph.graph if node.op_type == "DequantizeLinear"]
    found = [(constant(codes), constant(scale)) for codes, scale, *_ in reads]
    return [
        scale
        for codes, scale in found
        if codes is not None and codes.dtype == np.int8 and scale is not None
    ]
