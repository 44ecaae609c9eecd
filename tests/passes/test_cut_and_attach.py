"""Where a classifier is cut, and that an attached head computes what its formula says."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from q8tool.engine.session import Session
from q8tool.errors import InputError, UsageError
from q8tool.model import io
from q8tool.model.head import Head, Hidden
from q8tool.passes.attach_head import attach_head
from q8tool.passes.cut_at_features import cut_at_features, find_features
from tests.graphs import f32, model

BODY = "c = Conv(x, k) r = Relu(c)"
KERNEL = f32(np.linspace(-1, 1, 4 * 3 * 3 * 3).reshape(4, 3, 3, 3))


def graph(nodes: str, output: str = "float[N,2] y") -> str:
    return f"g (float[N,3,8,8] x) => ({output}) {{ {BODY} {nodes} }}"


W, B = f32(np.ones((4, 2))), f32([0, 1])
CLASSIFIERS = {
    "gemm": (
        graph("p = GlobalAveragePool(r) f = Flatten(p) g = Gemm(f, w, b) y = Softmax(g)"), "f",
    ),
    "matmul and add": (
        graph("p = GlobalAveragePool(r) f = Flatten(p) m = MatMul(f, w) y = Add(m, b)"), "f",
    ),
    "one by one": (
        graph("p = GlobalAveragePool(r) g = Conv(p, w1) f = Flatten(g) y = Softmax(f)"), "p",
    ),
    "pooled after": (
        graph("g = Conv(r, w1) p = GlobalAveragePool(g) f = Flatten(p) y = Softmax(f)"), "r",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_input_of_the_last_layer_is_found_and_pooled(
    kind: str, rng: np.random.Generator
) -> None:
    text, wanted = CLASSIFIERS[kind]
    whole = model(text, k=KERNEL, w=W, b=B, w1=f32(np.ones((2, 4, 1, 1))))
    assert find_features(whole) == wanted
    assert cut_at_features(whole, wanted) == 4
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    found = Session(whole).run({"x": x})["features"]
    body = model(f"g (float[N,3,8,8] x) => (float[N,4,6,6] r) {{ {BODY} }}", k=KERNEL)
    (maps,) = list(ReferenceEvaluator(io.to_proto(body)).run(None, {"x": x}))
    np.testing.assert_allclose(found, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_network_without_last_layer_is_kept_whole() -> None:
    text = graph("p = GlobalAveragePool(r) y = Flatten(p)", "float[N,4] y")
    whole = model(text, k=KERNEL)
    assert find_features(whole) == "p"
    assert cut_at_features(whole, "p") == 4


def test_a_sequence_is_averaged(rng: np.random.Generator) -> None:
    text = "g (float[N,3,8,8] x) => (float[N,8,24] y) { y = Reshape(x, s) }"
    whole = model(text, s=np.array([0, 8, 24], np.int64))
    assert cut_at_features(whole, "y") == 24
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    wanted = x.reshape(2, 8, 24).mean(1)
    np.testing.assert_allclose(Session(whole).run({"x": x})["features"], wanted, atol=1e-5)


def test_what_is_no_classifier_and_unknown_names() -> None:
    with pytest.raises(InputError, match="no last layer ends in output 'y'") as caught:
        find_features(model("g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Exp(x) }"))
    assert "--feature" in caught.value.hint
    whole = model(graph("p = GlobalAveragePool(r) y = Flatten(p)", "float[N,4] y"), k=KERNEL)
    with pytest.raises(UsageError, match="no value 'pp'") as unknown:
        cut_at_features(whole, "pp")
    assert unknown.value.hint == "did you mean p?"


def head(rng: np.random.Generator, is_root: bool, hidden: bool) -> Head:
    units = Hidden(
        projection=rng.normal(size=(4, 3)).astype(np.float32),
        offset=rng.normal(size=3).astype(np.float32),
        codes=rng.integers(-127, 128, (3, 6)).astype(np.int8),
        steps=rng.uniform(0.005, 0.02, 6).astype(np.float32),
        narrowness=0.3,
    )
    weights = rng.normal(size=(6 if hidden else 4, 2)).astype(np.float32)
    return Head(is_root, units if hidden else None, weights, f32([0.1, -0.1]))


@pytest.mark.parametrize("is_eight_bit", [False, True])
@pytest.mark.parametrize("is_root", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_an_attached_head_computes_its_formula(
    is_eight_bit: bool, is_root: bool, hidden: bool, rng: np.random.Generator
) -> None:
    found = head(rng, is_root, hidden)
    whole = model("g (float[N,4] x) => (float[N,4] out) { out = Relu(x) }")
    attach_head(whole, found, "out", 2, is_eight_bit=is_eight_bit)
    proto = io.to_proto(whole)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.output] == ["out"]
    x = np.abs(rng.normal(size=(5, 4))).astype(np.float32)
    t = np.sqrt(x) if is_root else x
    if found.hidden is not None:
        p = t @ found.hidden.projection + found.hidden.offset
        squared = ((p[:, None] - found.hidden.landmarks.T[None]) ** 2).sum(2)
        t = np.exp(-0.3 * squared)
    powers = np.exp(t @ found.weights + found.bias)
    wanted = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(Session(whole).run({"x": x})["out"], wanted, atol=1e-5)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, atol=1e-5)
