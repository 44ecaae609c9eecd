"""What a transformer's float parts become between eight-bit ends."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool import Session
from q8tool.errors import InputError
from tests.engine.steps import kernels
from tests.graphs import f32, i8, model, random, run, u8

BLOCK = (
    "n = LayerNormalization<axis=-1>(x, g, b) nq = QuantizeLinear(n, s, z) "
    "nd = DequantizeLinear(nq, s, z) wd = DequantizeLinear(w, ws) m = MatMul(nd, wd) "
    "a = Add(c, m) "
)


def block(residual: str) -> ir.Model:
    """A normalization, a product of its codes and bias, and a residual."""
    return model(
        f"g (float[2,7,16] x) => (float y) {{ {BLOCK} y = Add({residual}, a) }}", 17,
        g=random(16), b=random(16), c=random(16), s=f32(0.03), z=u8(120), ws=f32(0.01),
        w=i8(np.random.default_rng(0).integers(-127, 128, (16, 16))),
    )  # fmt: skip


def test_normalization_rounds_and_the_product_takes_bias_and_residual() -> None:
    graph = block("x")
    feeds = {"x": random(2, 7, 16)}
    assert kernels(graph, feeds) == ["layer_norm", "gemm"]
    (want,) = run(graph, **feeds)
    got = Session(graph, threads=1).run(feeds)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=0.03 * 1.27)  # one code of n
    assert np.mean(np.abs(got - want) > 0.01) < 0.2


def test_normalization_read_as_floats_too() -> None:
    graph = block("n")
    feeds = {"x": random(2, 7, 16)}
    assert kernels(graph, feeds) == ["layer_norm", "gemm"]
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(
        Session(graph, threads=1).run(feeds)["y"], want, rtol=0, atol=0.03 * 1.27
    )


GATE = "e = Erf(d) a = Add(e, one) "
GELUS = {
    "erf, divided": ("gelu", "d = Div(x, r) " + GATE + "m = Mul(x, a) y = Mul(m, h)"),
    "erf, half first": ("gelu", "d = Mul(x, i) " + GATE + "g = Mul(x, h) y = Mul(a, g)"),
    "erf, half of the gate": ("gelu", "d = Div(x, r) " + GATE + "g = Mul(a, h) y = Mul(g, x)"),
    "tanh, power": (
        "gelu_tanh",
        "c = Pow(x, three) s = Mul(c, k) t = Add(x, s) u = Mul(t, w) v = Tanh(u) a = Add(v, one) "
        "g = Mul(x, h) y = Mul(g, a)",
    ),
    "tanh, products": (
        "gelu_tanh",
        "q = Mul(x, x) c = Mul(q, x) s = Mul(k, c) t = Add(x, s) u = Mul(w, t) v = Tanh(u) "
        "a = Add(one, v) g = Mul(h, x) y = Mul(g, a)",
    ),
    "silu": ("silu", "n = Neg(x) e = Exp(n) a = Add(e, one) y = Div(x, a)"),
    "another function": ("", "d = Div(x, one) " + GATE + "m = Mul(x, a) y = Mul(m, h)"),
}


@pytest.mark.parametrize("form", GELUS)
def test_functions_are_recognised_by_what_they_compute(form: str) -> None:
    expected, body = GELUS[form]
    graph = model(
        f"g (float[5,300] x) => (float y) {{ {body} }}", 17,
        r=f32(2**0.5), i=f32(0.5**0.5), one=f32(1), h=f32([0.5]), three=f32(3), k=f32(0.044715),
        w=f32((2 / np.pi) ** 0.5),
    )  # fmt: skip
    feeds = {"x": random(5, 300) * np.float32(4)}
    steps = kernels(graph, feeds)
    assert steps == [expected] if expected else len(steps) > 1
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(Session(graph, threads=1).run(feeds)["y"], want, rtol=0, atol=3e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_embeddings_are_looked_up_in_c(dtype: str) -> None:
    body = "r = Gather(t, i) f = Cast<to=1>(r) s = Gather(w, i) y = Mul(f, s)"
    graph = model(
        f"g ({dtype}[2,5] i) => (float y) {{ {body} }}", 17,
        t=i8(np.random.default_rng(1).integers(-127, 128, (30, 8))), w=random(30, 1),
    )  # fmt: skip
    feeds = {"i": np.random.default_rng(2).integers(-30, 30, (2, 5)).astype(dtype)}
    assert "host" not in kernels(graph, feeds)
    (want,) = run(graph, **feeds)
    np.testing.assert_array_equal(Session(graph, threads=2).run(feeds)["y"], want)
    feeds["i"][1, 2] = 30
    with pytest.raises(InputError, match="outside its axis"):
        Session(graph, threads=2).run(feeds)


def test_gelu_is_done_by_the_product_before_it() -> None:
    body = "p = MatMul(x, w) b = Add(p, c) " + GELUS["erf, divided"][1].replace("x,", "b,")
    graph = model(
        f"g (float[5,16] x) => (float y) {{ {body} }}", 17,
        w=random(16, 40), c=random(40), r=f32(2**0.5), one=f32(1), h=f32(0.5),
    )  # fmt: skip
    feeds = {"x": random(5, 16)}
    assert kernels(graph, feeds) == ["gemm"]
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(
        Session(graph, threads=1).run(feeds)["y"], want, rtol=1e-5, atol=1e-5
    )


def test_a_gelu_whose_parts_are_read_elsewhere_keeps_them() -> None:
    body = "p = MatMul(x, w) b = Add(p, c) " + GELUS["erf, divided"][1].replace("x,", "b,")
    graph = model(
        f"g (float[5,16] x) => (float y, float e) {{ {body} }}", 17,
        w=random(16, 40), c=random(40), r=f32(2**0.5), one=f32(1), h=f32(0.5),
    )  # fmt: skip
    feeds = {"x": random(5, 16)}
    for got, want in zip(Session(graph).run(feeds).values(), run(graph, **feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
