"""Refit: layers of the eight-bit model give the float means and are nearer to the float results."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.calibrate.refit import Twin, refit
from q8tool.model.check import check
from q8tool.numerics.compare import sqnr_db
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.insert_dynamic import insert_dynamic
from q8tool.passes.strip import strip
from tests.graphs import Array, f32, i64, model, random, run, weight

PICTURE = "float[1,4,12,12]"
MODELS = {
    "conv": (
        PICTURE,
        "a = Conv <pads=[1,1,1,1]> (x, w1, b1) b = Relu (a) y = Conv (b, w2, b2)",
        {"w1": random(6, 4, 3, 3), "b1": random(6), "w2": random(5, 6, 1, 1), "b2": random(5)},
    ),
    "depthwise": (
        PICTURE,
        "a = Conv <group=4, pads=[1,1,1,1]> (x, w1, b1) y = Conv (a, w2, b2)",
        {"w1": random(4, 1, 3, 3), "b1": random(4), "w2": random(5, 4, 1, 1), "b2": random(5)},
    ),
    "no bias": (
        PICTURE,
        "a = Conv (x, w1) b = Relu (a) y = Conv (b, w2)",
        {"w1": random(6, 4, 3, 3), "w2": random(5, 6, 1, 1)},
    ),
    "gemm": (
        "float[40,16]",
        "a = Gemm <transB=1, alpha=0.5, beta=2.0> (x, w1, b1) b = Relu (a) y = Gemm (b, w2, b2)",
        {"w1": random(12, 16), "b1": random(12), "w2": random(12, 5), "b2": random(5)},
    ),
    "matmul": (
        "float[1,40,16]",
        "a = MatMul (x, w1) c = Add (a, b1) b = Relu (c) d = MatMul (b, w2) y = Add (d, b2)",
        {"w1": random(16, 12), "b1": random(12), "w2": random(12, 5), "b2": random(5)},
    ),
    "of a constant": (
        "float[40,5]",
        "a = MatMul (table, w1) c = Add (a, b1) b = Relu (c) d = MatMul (b, w2) e = Add (d, b2)"
        "y = Add (e, x)",
        {"table": random(40, 16), "w1": random(16, 12), "b1": random(12)}
        | {"w2": random(12, 5), "b2": random(5)},
    ),
}


def _samples(kind: str) -> list[dict[str, Array]]:
    shape = [int(n) for n in kind[kind.index("[") + 1 : -1].split(",")]
    return [{"x": np.abs(random(*shape, seed=seed)) ** 2} for seed in range(8)]


def _eight_bit(
    text: str, weights: Mapping[str, Array], kind: str, is_static: bool
) -> tuple[ir.Model, ir.Model, list[Twin]]:
    dims = ", ".join("abcd"[: kind.count(",") + 1])
    source = model(f"g ({kind} x) => (float[{dims}] y) {{ {text} }}", **weights)
    quantized = source.clone()
    names = {v.name or "" for node in source.graph for v in node.outputs} | {"x", "table"}
    # Coarse enough to leave something to mend.
    ranges = dict.fromkeys(names, (-20.0, 20.0)) if is_static else {}
    choice = choose_precision(quantized, ranges)
    originals = dict(zip(quantized.graph, source.graph, strict=True))
    twins = [
        Twin(originals[unit.node], unit.node.outputs[0])
        for unit in choice.units
        if unit.has_weights
    ]
    insert_conversions(quantized, choice, ranges)
    insert_dynamic(quantized, choice)
    strip(quantized)
    return source, quantized, twins


@pytest.mark.parametrize("is_static", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_means_and_noise(name: str, is_static: bool) -> None:
    """In onnxruntime: the mean of every output channel is the float one, at no cost in noise."""
    kind, text, weights = MODELS[name]
    source, quantized, twins = _eight_bit(text, weights, kind, is_static)
    samples = _samples(kind)
    wanted = np.concatenate([run(source, **sample)[0] for sample in samples])
    before = np.concatenate([run(quantized, **sample)[0] for sample in samples])
    changes = refit(source, quantized, twins, samples, 1)
    check(quantized, "refitted")
    after = np.concatenate([run(quantized, **sample)[0] for sample in samples])
    assert len(changes) == len([twin for twin in twins if twin.node.op_type != "Add"])
    assert sqnr_db(wanted, after) > sqnr_db(wanted, before) - (0.1 if is_static else 1.0)
    if is_static and name != "no bias":
        axes = (0, 2, 3) if wanted.ndim == 4 else tuple(range(wanted.ndim - 1))
        apart = np.abs((after - wanted).mean(axis=axes))
        assert float(apart.max()) < 0.05 * float(np.abs(before - wanted).std()) + 1e-3


def test_threads_change_nothing() -> None:
    """The same bytes with one thread and with two, and twice."""
    kind, text, weights = MODELS["conv"]
    found = []
    for threads in (1, 2, 2):
        source, quantized, twins = _eight_bit(text, weights, kind, True)
        refit(source, quantized, twins, _samples(kind), threads)
        found.append(ir.to_proto(quantized).SerializeToString())
    assert found[0] == found[1] == found[2]


def test_shared_biases_are_parted() -> None:
    """Operators of equal bias codes: each gets its own."""
    weights = {f"w{i}": random(4, 4, 1, 1, seed=i) for i in range(3)} | {"b": f32([0, 0, 0, 0])}
    text = "a = Conv (x, w0, b) c = Relu (a) d = Conv (c, w1, b) y = Conv (d, w2, b)"
    source, quantized, twins = _eight_bit(text, weights, PICTURE, True)
    refit(source, quantized, twins, _samples(PICTURE), 1)
    check(quantized, "refitted")
    codes = [n.inputs[0] for n in quantized.graph if n.op_type == "DequantizeLinear"]
    biases = [v for v in codes if v is not None and v.dtype == ir.DataType.INT32]
    assert len(set(biases)) == len(biases) == 2


def test_shared_weights_stay() -> None:
    """Weights that two operators read are stored once, as they were."""
    weights = {"w": random(4, 4, 1, 1), "b": f32([0, 0, 0, 0])}
    text = "a = Conv (x, w, b) c = Relu (a) y = Conv (c, w, b)"
    source, quantized, twins = _eight_bit(text, weights, PICTURE, True)
    clean_graph(quantized)
    before = weight(quantized, "w_q")
    refit(source, quantized, twins, _samples(PICTURE), 1)
    check(quantized, "refitted")
    np.testing.assert_array_equal(weight(quantized, "w_q"), before)


@pytest.mark.parametrize("is_static", [True, False])
def test_products_of_nothing_stay(is_static: bool) -> None:
    """A sound operator in front of one whose picture has no line left: 0 places have no mean."""
    kind, text, weights = MODELS["conv"]
    text = text.replace("y = Conv (b,", "e = Slice (b, none, none) y = Conv (e,")
    weights = {**weights, "none": i64([0])}
    source, quantized, twins = _eight_bit(text, weights, kind, is_static)
    assert len(refit(source, quantized, twins, _samples(kind), 1)) == 1
    check(quantized, "refitted")
    assert run(quantized, **_samples(kind)[0])[0].size == 0
