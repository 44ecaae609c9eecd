"""Every lowering against onnxruntime: in float, and as codes at every instruction set."""

import numpy as np
import onnx
import pytest

from q8tool import Session
from q8tool.engine.lowerings import LOWERINGS
from q8tool.ops import registry
from tests.build import Array, Case, float_model, node, quantized_model, run_onnxruntime
from tests.conftest import available_isas
from tests.engine.cases import CODE_CASES, FLOAT_CASES
from tests.graphs import f32, i8, i64, proto, random, run, u8


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def results(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """One result per instruction set and thread count; all of it must run in C."""
    found: list[Array] = []
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            found += session.run(feeds).values()
    return found


@pytest.mark.parametrize("case", FLOAT_CASES, ids=names(FLOAT_CASES))
def test_float(case: Case) -> None:
    model = float_model(case)
    expected = run_onnxruntime(model, case.inputs)[0]
    for result in results(model, dict(case.inputs)):
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", CODE_CASES, ids=names(CODE_CASES))
def test_codes(case: Case, dtype: str) -> None:
    model = quantized_model(case, dtype)
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    found = results(model, dict(case.inputs))
    for result in found:
        assert result.shape == expected.shape
        assert np.abs(result.astype(int) - expected).max() <= 1
        assert np.array_equal(result, found[0])


@pytest.mark.parametrize("case", CODE_CASES, ids=names(CODE_CASES))
def test_codes_with_a_float_result(case: Case) -> None:
    model = quantized_model(case, "uint8", float_output=True)
    expected = run_onnxruntime(model, case.inputs)[0]
    for result in results(model, dict(case.inputs)):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ["Sin", "Cos", "Sign", "ThresholdedRelu"])
def test_functions_of_few_networks(op: str) -> None:
    case = Case(op, [node(op, "x", "y")], {"x": np.linspace(-4, 4, 60, dtype=np.float32)})
    model = quantized_model(case, "uint8")
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    for result in results(model, dict(case.inputs)):
        assert np.abs(result.astype(int) - expected).max() <= 1
    wanted = run_onnxruntime(float_model(case), case.inputs)[0]
    for result in results(float_model(case), dict(case.inputs)):
        np.testing.assert_allclose(result, wanted, atol=1e-6)


def test_group_norm(rng: np.random.Generator) -> None:
    # onnx infers no shape for it, so what follows would not run in C either.
    text = """g (float[2,6,5,4] x) => (float[2,4,5,4] y) {
        n = GroupNormalization<num_groups=3, epsilon=0.001>(x, s, b)  y = Conv(n, w) }"""
    shapes = {"s": (6,), "b": (6,), "w": (4, 6, 1, 1)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = proto(text, 21, **weights)
    feeds = {"x": rng.normal(size=(2, 6, 5, 4)).astype(np.float32)}
    expected = run_onnxruntime(model, feeds)[0]
    for result in results(model, feeds):
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-5)


def test_registry_names_the_native_operators() -> None:
    native = {(row.domain, row.op_type) for row in registry.rows() if row.native}
    assert native == set(LOWERINGS)


@pytest.mark.parametrize(
    "product",
    [
        "p = MatMul(d, w) y = Add(p, b)",
        "y = Gemm<transB=1>(d, w, b)",
        "c = Reshape(d, picture) k = Reshape(w, window) p = Conv(c, k, b) y = Reshape(p, rows)",
    ],
)
def test_a_bias_beyond_what_codes_of_next_to_nothing_hold(product: str) -> None:
    """Of inputs around 1e-9 a bias of 0.2 is more units than an int32 has."""
    graph = proto(
        f"g (float[3,8] x) => (float[3,8] y) {{ q = QuantizeLinear(x, s, z) "
        f"d = DequantizeLinear(q, s, z) w = DequantizeLinear(wc, ws) {product} }}",
        13, s=f32(4e-12), z=u8(131), wc=i8(np.arange(64).reshape(8, 8) - 30), ws=f32(3e-4),
        b=f32(np.linspace(-0.2, 0.3, 8)), picture=i64([3, 8, 1, 1]), window=i64([8, 8, 1, 1]),
        rows=i64([3, 8]),
    )  # fmt: skip
    used = {name for n in graph.graph.node for name in n.input}
    unused = [item for item in graph.graph.initializer if item.name not in used]
    for item in unused:
        graph.graph.initializer.remove(item)
    feeds = {"x": random(3, 8) * np.float32(1e-10)}
    (want,) = run(graph, **feeds)
    np.testing.assert_allclose(Session(graph, threads=1).run(feeds)["y"], want, atol=1e-6)
