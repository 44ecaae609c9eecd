"""Attention as exporters write it becomes one step, and answers as the nodes do one by one."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool import Session
from q8tool.errors import InputError
from tests.engine.steps import kernels
from tests.graphs import f32, i64, model, random, run

B, H, M, D = 2, 3, 17, 8


PROJECTED = (
    "r = Reshape(x, split) t = Transpose<perm=[2,0,3,1,4]>(r) "
    "q0, k0, v0 = Split<axis=0>(t, ones) q = Squeeze(q0, zero) k = Squeeze(k0, zero) "
    "v = Squeeze(v0, zero) kt = Transpose<perm=[0,1,3,2]>(k) "
)
APART = (
    "q0, k0, v0 = Split<axis=2>(x, widths) q1 = Reshape(q0, heads) k1 = Reshape(k0, heads) "
    "v1 = Reshape(v0, heads) q = Transpose<perm=[0,2,1,3]>(q1) "
    "kt = Transpose<perm=[0,2,3,1]>(k1) v = Transpose<perm=[0,2,1,3]>(v1) "
)
INDEXED = (
    "r = Reshape(x, split) t = Transpose<perm=[2,0,3,1,4]>(r) q = Gather<axis=0>(t, first) "
    "k = Gather<axis=0>(t, second) v = Gather<axis=0>(t, third) "
    "kt = Transpose<perm=[0,1,3,2]>(k) "
)
ENDS = "o = Transpose<perm=[0,2,1,3]>(a) y = Reshape(o, joined)"
FORMS = {
    "factor before, shared projection":
        PROJECTED + "qs = Mul(q, c) s = MatMul(qs, kt) p = Softmax<axis=-1>(s) a = MatMul(p, v) "
        + ENDS,
    "factor behind, indices":
        INDEXED + "s = MatMul(q, kt) d = Div(s, w) p = Softmax<axis=-1>(d) a = MatMul(p, v) "
        + ENDS,
    "mask, three projections":
        APART + "s = MatMul(q, kt) d = Div(s, w) e = Add(d, m) p = Softmax<axis=-1>(e) "
        "a = MatMul(p, v) " + ENDS,
    "factors on both sides":
        APART + "qs = Mul(q, c) ks = Mul(kt, c) s = MatMul(qs, ks) p = Softmax(s) "
        "a = MatMul(p, v) " + ENDS,
    "no heads":
        "q, k, v = Split<axis=2>(x, widths) kt = Transpose<perm=[0,2,1]>(k) s = MatMul(q, kt) "
        "p = Softmax(s) y = MatMul(p, v)",
    "mask, 0 where it hides everything":
        APART + "s = MatMul(q, kt) d = Mul(s, c) e = Add(d, m) p = Softmax(e) n = IsNaN(p) "
        "g = Where(n, none, p) a = MatMul(g, v) " + ENDS,
    "codes":
        "xc = QuantizeLinear(x, xs, xz) xd = DequantizeLinear(xc, xs, xz) "
        + PROJECTED.replace("(x,", "(xd,")
        + "s = MatMul(q, kt) d = Mul(s, c) p = Softmax(d) pc = QuantizeLinear(p, ps, pz) "
        "pd = DequantizeLinear(pc, ps, pz) a = MatMul(pd, v) ac = QuantizeLinear(a, xs, xz) "
        "oc = Transpose<perm=[0,2,1,3]>(ac) jc = Reshape(oc, joined) "
        "y = DequantizeLinear(jc, xs, xz)",
}  # fmt: skip


def attention(body: str) -> ir.Model:
    size = H * D
    return model(
        f"g (float[{B},{M},{3 * size}] x, float[{B},1,1,{M}] m) => (float y) {{ {body} }}",
        17,
        split=i64([B, M, 3, H, D]), ones=i64([1, 1, 1]), zero=i64([0]), widths=i64([size] * 3),
        heads=i64([B, M, H, D]), joined=i64([B, M, size]), c=f32(0.35), w=f32(2.8),
        none=f32(0), first=i64(0), second=i64(1), third=i64(2), xs=f32(0.03),
        xz=np.asarray(121, np.uint8),
        ps=f32(1 / 255), pz=np.asarray(0, np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_one_step(form: str) -> None:
    graph = attention(FORMS[form])
    feeds = {"x": random(B, M, 3 * H * D), "m": random(B, 1, 1, M)}
    steps = kernels(graph, feeds)
    assert steps.count("attention") == 1
    assert not {"softmax", "matmul", "copy", "mul", "div"} & set(steps)
    (want,) = run(graph, **feeds)
    got = Session(graph, threads=2).run(feeds)["y"]
    tolerance = 0.0301 if form == "codes" else 1e-5  # one code
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)
    assert np.mean(np.abs(got - want) > 1e-5) < 0.02


@pytest.mark.parametrize("form", ["mask, 0 where it hides everything", "codes of hidden rows"])
def test_rows_that_see_nothing(form: str) -> None:
    coded = FORMS["codes"].replace("d = Mul(s, c) p = Softmax(d)", "e = Add(s, m) u = Softmax(e) "
        "n = IsNaN(u) p = Where(n, none, u)")  # fmt: skip
    graph = attention(FORMS.get(form, coded))
    feeds = {"x": random(B, M, 3 * H * D), "m": random(B, 1, 1, M)}
    feeds["m"][1] = -np.inf
    assert kernels(graph, feeds).count("attention") == 1
    (want,) = run(graph, **feeds)
    assert not want[1].any()
    got = Session(graph, threads=1).run(feeds)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=0.0301 if form not in FORMS else 1e-5)


@pytest.mark.parametrize(
    "middle",
    [
        "s = MatMul(q, kt) e = Add(s, m) u = Softmax(e) n = IsNaN(u) p = Where(n, c, u) "
        "a = MatMul(p, v)",  # not 0
        "s = MatMul(q, kt) e = Add(s, m) u = Softmax(e) n = IsNaN(s) p = Where(n, none, u) "
        "a = MatMul(p, v)",
        "s = MatMul(q, kt) p = Softmax<axis=2>(s) a = MatMul(p, v)",  # over columns
        "s = MatMul(q, kt) p = Softmax(s) n = Neg(p) a = MatMul(n, v)",
        "s = MatMul(q, kt) e = Relu(s) p = Softmax(e) a = MatMul(p, v)",
        "s = MatMul(q, kt) e = Add(s, s) p = Softmax(e) a = MatMul(p, v)",
        "s = MatMul(q, kt) e = Add(s, m) d = Mul(e, c) p = Softmax(d) a = MatMul(p, v)",
        "s = MatMul(q, kt) d = Div(c, s) p = Softmax(d) a = MatMul(p, v)",
        "s = MatMul(q, kt) p = Softmax(s) a0 = MatMul(p, v) z = ReduceSum<keepdims=0>(s) "
        "a = Add(a0, z)",
    ],
)
def test_what_is_not_attention_runs_node_by_node(middle: str) -> None:
    graph = attention(APART + middle + " " + ENDS)
    feeds = {"x": random(B, M, 3 * H * D), "m": random(B, 1, 1, M)}
    assert "attention" not in kernels(graph, feeds)
    (want,) = run(graph, **feeds)
    got = Session(graph, threads=1).run(feeds)["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)


def test_values_that_a_caller_watches_stay() -> None:
    graph = attention(FORMS["mask, three projections"])
    feeds = {"x": random(B, M, 3 * H * D), "m": random(B, 1, 1, M)}
    session = Session(graph, threads=1, observe=["p"])
    results = session.run(feeds)
    np.testing.assert_allclose(results["p"].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(results["y"], run(graph, **feeds)[0], rtol=0, atol=1e-5)


def test_a_shape_behind_it_that_only_the_run_tells() -> None:
    graph = model(
        "g (float[1,2,5,4] q, float[1,2,4,5] k, float[1,2,5,4] v, float[2] f) => (float y) { "
        "s = MatMul(q, k) p = Softmax(s) a = MatMul(p, v) i = Cast<to=7>(f) y = Reshape(a, i) }"
    )
    feeds = {"q": random(1, 2, 5, 4), "k": random(1, 2, 4, 5), "v": random(1, 2, 5, 4)}
    feeds["f"] = f32([10, 4])
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(Session(graph).run(feeds)["y"], want, atol=1e-6)


def test_keys_that_are_fewer_than_their_shape_says() -> None:
    """An exporter that traced one size writes it into a Reshape: other sizes are an error."""
    body = """q = Reshape(x, open) k = Reshape(x, fixed) kt = Transpose<perm=[0,2,1]>(k)
        s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, k)"""
    shapes = {"open": i64([1, -1, 8]), "fixed": i64([1, 4, 8])}
    session = Session(model(f"g (float[n,8] x) => (float[1,m,8] y) {{ {body} }}", 17, **shapes))
    assert session.run({"x": random(4, 8)})["y"].shape == (1, 4, 8)
    with pytest.raises(InputError, match="Reshape"):
        session.run({"x": random(3, 8)})
