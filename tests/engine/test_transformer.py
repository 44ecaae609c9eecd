"""What a transformer's float parts become between eight-bit ends."""

import numpy as np
import onnx_ir as ir

from q8tool import Session
from tests.graphs import Array, f32, i8, model, random, run, u8


def kernels(graph: ir.Model, feeds: dict[str, Array]) -> list[str]:
    session = Session(graph, threads=1)
    session.run(feeds)
    return [info.kernel.split(" ")[0] for info in session.explain()]


BLOCK = (
    "n = LayerNormalization<axis=-1>(x, g, b) nq = QuantizeLinear(n, s, z) "
    "nd = DequantizeLinear(nq, s, z) wd = DequantizeLinear(w, ws) m = MatMul(nd, wd) "
    "a = Add(c, m) "
)


def test_normalization_rounds_and_the_product_takes_bias_and_residual() -> None:
    graph = model(
        f"g (float[2,7,16] x) => (float y) {{ {BLOCK} y = Add(x, a) }}", 17,
        g=random(16), b=random(16), c=random(16), s=f32(0.03), z=u8(120), ws=f32(0.01),
        w=i8(np.random.default_rng(0).integers(-127, 128, (16, 16))),
    )  # fmt: skip
    feeds = {"x": random(2, 7, 16)}
    assert kernels(graph, feeds) == ["layer_norm", "gemm"]
    (want,) = run(graph, **feeds)
    got = Session(graph, threads=1).run(feeds)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=0.03 * 1.27)  # one code of n
    assert np.mean(np.abs(got - want) > 0.01) < 0.2


def test_normalization_read_as_floats_too() -> None:
    graph = model(
        f"g (float[2,7,16] x) => (float y) {{ {BLOCK} y = Add(n, a) }}", 17,
        g=random(16), b=random(16), c=random(16), s=f32(0.03), z=u8(120), ws=f32(0.01),
        w=i8(np.random.default_rng(0).integers(-127, 128, (16, 16))),
    )  # fmt: skip
    feeds = {"x": random(2, 7, 16)}
    assert kernels(graph, feeds) == ["layer_norm", "gemm"]
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(
        Session(graph, threads=1).run(feeds)["y"], want, rtol=0, atol=0.03 * 1.27
    )
