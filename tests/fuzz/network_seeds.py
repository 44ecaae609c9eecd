"""Small float networks of the parts that exporters write: what quantize rewrites.

Each is a text of operators and the shapes of its weights. All take float "x" of a batch of one.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from tests.graphs import Array, f32, i64, proto

__all__ = ["networks"]


class Network(NamedTuple):
    """text  of operators;  shapes  of random weights by name;  arrays  that are not random."""

    text: str
    shapes: Mapping[str, tuple[int, ...]]
    arrays: Mapping[str, Array] = {}
    opset: int = 17


def networks() -> Mapping[str, Callable[[], bytes]]:
    """All of them, by name of file."""
    return {f"{name}.onnx": partial(_bytes, network) for name, network in NETWORKS.items()}


def _bytes(network: Network) -> bytes:
    random = np.random.default_rng(5)
    weights = {
        name: random.uniform(-0.7, 1, shape).astype(np.float32)
        for name, shape in network.shapes.items()
    }
    arrays = {**weights, **network.arrays}
    return bytes(proto(network.text, network.opset, **arrays).SerializeToString())


RESIDUAL = Network(
    """g (float[1,3,10,10] x) => (float[1,5] y) {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w0) b = BatchNormalization(a, g0, h0, m0, v0)
    c = Clip(b, zero, six) d = Conv(c, w1, b1) e = BatchNormalization(d, g1, h1, m1, v1)
    f = Relu(e) h = Conv<group=16, pads=[1,1,1,1]>(f, w2) i = Clip(h, zero, six) j = Conv(i, w3)
    k = Add(c, j) l = GlobalAveragePool(k) m = Flatten(l) n = Gemm<transB=1>(m, w4, b4)
    y = Softmax(n) }""",
    {"w0": (8, 3, 3, 3), "g0": (8,), "h0": (8,), "m0": (8,), "w1": (16, 8, 1, 1), "b1": (16,),
     "g1": (16,), "h1": (16,), "m1": (16,), "w2": (16, 1, 3, 3), "w3": (8, 16, 1, 1),
     "w4": (5, 8), "b4": (5,)},
    {"zero": f32(0), "six": f32(6), "v0": np.ones(8, np.float32), "v1": np.ones(16, np.float32)},
)  # fmt: skip

GATED = Network(
    """g (float[1,3,8,8] x) => (float[1,4,1,1] y) {
    a = Conv<pads=[1,1,1,1]>(x, w0, b0) s = Sigmoid(a) b = Mul(a, s)
    c = Conv<group=8, pads=[2,2,2,2]>(b, w1) t = Sigmoid(c) d = Mul(c, t)
    e = GlobalAveragePool(d) f = Conv(e, w2, b2) u = Sigmoid(f) h = Mul(f, u)
    i = Conv(h, w3, b3) j = Sigmoid(i) k = Mul(d, j) l = Conv(k, w4)
    m = HardSwish(l) n = GlobalAveragePool(m) o = Conv(n, w5, b5) y = HardSigmoid(o) }""",
    {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 5, 5), "w2": (2, 8, 1, 1), "b2": (2,),
     "w3": (8, 2, 1, 1), "b3": (8,), "w4": (8, 8, 1, 1), "w5": (4, 8, 1, 1), "b5": (4,)},
)  # fmt: skip

BRANCHES = Network(
    """g (float[1,4,9,9] x) => (float[1,6,9,9] y, float[1,14,4,4] z) {
    a = Conv(x, w0, b0) r = LeakyRelu<alpha=0.1>(a) b = Conv<pads=[1,1,1,1]>(r, w1)
    p = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(r) c = Conv(p, w2)
    q = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(r) d = Concat<axis=1>(r, b, c, q)
    e, f = Split<axis=1>(d, parts) h = PRelu(e, slope) i = Conv(h, w3)
    z = MaxPool<kernel_shape=[2,2], strides=[2,2]>(f)
    j = Resize<mode="linear">(z, , , sizes) k = Conv(j, w4) y = Add(i, k) }""",
    {"w0": (6, 4, 1, 1), "b0": (6,), "w1": (6, 6, 3, 3), "w2": (6, 6, 1, 1), "w3": (6, 10, 1, 1),
     "slope": (10, 1, 1), "w4": (6, 14, 1, 1)},
    {"parts": i64([10, 14]), "sizes": i64([1, 14, 9, 9])},
)  # fmt: skip

TRANSFORMER = Network(
    """g (float[1,5,8] x) => (float[1,3] y) {
    n = LayerNormalization<axis=-1>(x, g0, h0)
    qm = MatMul(n, wq) q = Add(qm, bq) km = MatMul(n, wk) k = Add(km, bk) vm = MatMul(n, wv)
    v = Add(vm, bv) qr = Reshape(q, heads) kr = Reshape(k, heads) vr = Reshape(v, heads)
    qt = Transpose<perm=[0,2,1,3]>(qr) kt = Transpose<perm=[0,2,3,1]>(kr)
    vt = Transpose<perm=[0,2,1,3]>(vr) s = MatMul(qt, kt) sd = Div(s, root) sm = Add(sd, mask)
    p = Softmax<axis=-1>(sm) o = MatMul(p, vt) ot = Transpose<perm=[0,2,1,3]>(o)
    oc = Reshape(ot, whole) om = MatMul(oc, wo) ob = Add(om, bo) r = Add(x, ob)
    m = LayerNormalization<axis=-1>(r, g1, h1) f = MatMul(m, w1) fb = Add(f, b1)
    d = Div(fb, two) e = Erf(d) ea = Add(e, one) t = Mul(fb, ea) u = Mul(t, half)
    l = MatMul(u, w2) lb = Add(l, b2) z = Add(r, lb) c = Gather<axis=1>(z, first)
    y = Gemm(c, wy, by) }""",
    {"g0": (8,), "h0": (8,), "wq": (8, 8), "bq": (8,), "wk": (8, 8), "bk": (8,), "wv": (8, 8),
     "bv": (8,), "mask": (1, 1, 5, 5), "wo": (8, 8), "bo": (8,), "g1": (8,), "h1": (8,),
     "w1": (8, 16), "b1": (16,), "w2": (16, 8), "b2": (8,), "wy": (8, 3), "by": (3,)},
    {"heads": i64([0, 0, 2, 4]), "whole": i64([0, 0, 8]), "root": f32(2), "two": f32(1.4142135),
     "one": f32(1), "half": f32(0.5), "first": i64(0)},
)  # fmt: skip

RECURRENT = Network(
    """g (float[4,1,6] x) => (float[4,1,3] y) {
    a, h, c = LSTM<hidden_size=5, direction="bidirectional">(x, w0, r0, b0)
    t = Transpose<perm=[0,2,1,3]>(a) f = Reshape(t, rows)
    b, s = GRU<hidden_size=4, linear_before_reset=1>(f, w1, r1, b1) q = Squeeze(b, one)
    m = MatMul(q, w2) n = Add(m, b2) y = LogSoftmax<axis=-1>(n) }""",
    {"w0": (2, 20, 6), "r0": (2, 20, 5), "b0": (2, 40), "w1": (1, 12, 10), "r1": (1, 12, 4),
     "b1": (1, 24), "w2": (4, 3), "b2": (3,)},
    {"rows": i64([0, 0, -1]), "one": i64([1])},
)  # fmt: skip

DETECTOR = Network(
    """g (float[1,3,8,8] x) => (int64[n,3] y, float[1,16,4] b, float[m,4] z) {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w0, b0) r = Relu(a) c = Conv(r, w1, b1)
    t = Transpose<perm=[0,2,3,1]>(c) b = Reshape(t, boxes) d = Conv(r, w2)
    e = Sigmoid(d) f = Reshape(e, scores) v, i = TopK<axis=-1>(f, five)
    y = NonMaxSuppression(b, f, most, over, under) p = Slice(y, from, to, axes)
    q = Squeeze(p, axes) o = Gather<axis=1>(b, q) z = Squeeze(o, none) }""",
    {"w0": (6, 3, 3, 3), "b0": (6,), "w1": (4, 6, 1, 1), "b1": (4,), "w2": (1, 6, 1, 1)},
    {"boxes": i64([1, 16, 4]), "scores": i64([1, 1, 16]), "five": i64([5]), "most": i64([4]),
     "over": f32([0.5]), "under": f32([0.1]), "from": i64([2]), "to": i64([3]), "axes": i64([1]),
     "none": i64([0])},
)  # fmt: skip

UPWARD = Network(
    """g (float[1,2,6,6] x) => (float[1,2,12,12] y, int64[1,1,12,12] z) {
    p = Pad<mode="reflect">(x, pads) a = Conv<dilations=[2,2]>(p, w0, b0)
    n = InstanceNormalization(a, g0, h0) r = Elu(n) u = ConvTranspose<strides=[2,2]>(r, w1, b1)
    d = DepthToSpace<blocksize=2>(r) e = Slice(u, start, end) f = Conv(d, w2)
    m = Mul(e, gain) y = Sub(m, f) z = ArgMax<axis=1>(y) }""",
    {"w0": (4, 2, 3, 3), "b0": (4,), "g0": (4,), "h0": (4,), "w1": (4, 2, 3, 3), "b1": (2,),
     "w2": (2, 1, 1, 1), "gain": (2, 1, 1)},
    {"pads": i64([0, 0, 2, 2, 0, 0, 2, 2]), "start": i64([0, 0, 0, 0]),
     "end": i64([1, 2, 12, 12])},
)  # fmt: skip

SHARED = Network(
    """g (float[1,4,6,6] x) => (float[1,4] y) {
    a = Conv<pads=[1,1,1,1]>(x, w, b) r = Tanh(a) s = Conv<pads=[1,1,1,1]>(r, w)
    e = Sub(s, mean) d = Div(e, deviation) c = ReduceMean<axes=[2,3], keepdims=0>(d)
    k = Cast<to=9>(one) t = If(k)<
        then_branch = one_side () => (float[1,4] u) { u = MatMul(c, v) },
        else_branch = other_side () => (float[1,4] o) { o = Gemm(c, v, h) }>
    y = Add(t, h) }""",
    {"w": (4, 4, 3, 3), "b": (4,), "mean": (4, 1, 1), "v": (4, 4), "h": (4,)},
    {"deviation": f32([[[2]], [[3]], [[4]], [[5]]]), "one": f32(1)},
)  # fmt: skip

NETWORKS = {
    "residual": RESIDUAL,
    "gated": GATED,
    "branches": BRANCHES,
    "transformer": TRANSFORMER,
    "recurrent": RECURRENT,
    "detector": DETECTOR,
    "upward": UPWARD,
    "shared": SHARED,
}
