"""Steps done on the way of others: the same bytes as step by step, and close to onnxruntime."""

import numpy as np
import onnx
import pytest

from q8tool import Session
from tests.build import Array, Case, model_of, node, quantized_model, run_onnxruntime
from tests.conftest import available_isas
from tests.engine.cases import numbers
from tests.native.one_step import run_one

KINDS: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "1x1": ((130, 70, 1, 1), {}),
    "3x3": ((20, 70, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "depthwise": ((70, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 70}),
    "odd depthwise": ((70, 1, 2, 3), {"pads": [0, 1, 1, 1], "group": 70}),
}


def activated_model(kind: str, dtype: str) -> tuple[Case, onnx.ModelProto]:
    """A convolution to codes "q", then x * Sigmoid(x), then the result's codes."""
    shape, attributes = KINDS[kind]
    nodes = [
        node("Conv", "x w b", "c", **attributes),
        node("QuantizeLinear", "c scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("Sigmoid", "d", "s"),
        node("Mul", "d s", "y"),
    ]
    weights = {
        "w": numbers(*shape, seed=1) / np.float32(np.sqrt(np.prod(shape[1:]))),
        "b": numbers(shape[0], seed=2),
        "scale": np.asarray(0.05, np.float32),
        "zero": np.asarray(120 if dtype == "uint8" else -8, dtype),
    }
    case = Case(kind, nodes, {"x": numbers(2, 70, 9, 11)}, weights, {"w": 0})
    return case, quantized_model(case, dtype)


def same_bytes_apart(
    case: Case, model: onnx.ModelProto, isa: str
) -> tuple[Session, Session, Array]:
    """Sessions that fuse, and that must not since "q" is observed; and what both answer."""
    together = Session(model, 2, isa, strict=True)
    apart = Session(model, 1, isa, strict=True, observe=["q"])
    (result,) = together.run(case.inputs).values()
    step_by_step = apart.run(case.inputs)[model.graph.output[0].name]
    assert np.array_equal(result, step_by_step)
    return together, apart, result


def tables_of(session: Session) -> int:
    return sum("table" in info.kernel for info in session.explain())


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_table_on_the_way_of_a_convolution(kind: str, dtype: str) -> None:
    case, model = activated_model(kind, dtype)
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    assert np.ptp(expected) > 100
    for isa in available_isas():
        together, apart, result = same_bytes_apart(case, model, isa)
        # One code of q is up to two of the result.
        assert np.abs(result.astype(int) - expected).max() <= 2
        assert tables_of(together) < tables_of(apart)
        assert any(info.op.count("QuantizeLinear") == 2 for info in together.explain())


@pytest.mark.parametrize("shape", [(1, 3, 33, 40), (3, 3, 7, 5), (2, 4, 9, 9)])
def test_photo_to_codes_in_one_pass(shape: tuple[int, ...]) -> None:
    weights = numbers(20, shape[1], 3, 3, seed=1)
    conv = node("Conv", "x w", "y", pads=[1, 1, 1, 1], strides=[2, 2])
    case = Case("photo", [conv], {"x": numbers(*shape)}, {"w": weights}, {"w": 0})
    model = quantized_model(case, "uint8")
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    for isa in available_isas():
        session = Session(model, 2, isa, strict=True)
        (result,) = session.run(case.inputs).values()
        assert np.abs(result.astype(int) - expected).max() <= 1
        kernels = [info.kernel for info in session.explain()]
        assert any("quantize picture" in kernel for kernel in kernels) == (shape[1] == 3)


@pytest.mark.parametrize("isa", available_isas())
def test_photo_to_codes_is_quantize_linear(isa: str) -> None:
    x = numbers(2, 3, 31, 41)
    got = run_one(
        lambda p, x, y: p.quantize_picture(x, y, scale=0.02, zero_point=100),
        [x],
        np.uint8,
        (2, 31, 41, 3),
        isa=isa,
    )
    codes = np.clip(np.rint(x / np.float32(0.02)) + 100, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(got, codes.transpose(0, 2, 3, 1))


def gated_model(batch: int, channels: int) -> tuple[Case, onnx.ModelProto]:
    """Pixels times one code per channel and picture, then a 1 x 1 convolution."""
    nodes = [
        node("MaxPool", "x", "p", kernel_shape=[2, 2]),
        node("GlobalAveragePool", "p", "a"),
        node("QuantizeLinear", "a scale zero", "ac"),
        node("DequantizeLinear", "ac scale zero", "ad"),
        node("Mul", "ad p" if channels % 2 else "p ad", "m"),
        node("QuantizeLinear", "m scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("Conv", "d w", "y"),
    ]
    weights = {
        "w": numbers(70, channels, 1, 1, seed=1),
        "scale": np.asarray(0.01, np.float32),
        "zero": np.asarray(120, np.uint8),
    }
    case = Case("gated", nodes, {"x": numbers(batch, channels, 9, 11)}, weights, {"w": 0})
    return case, quantized_model(case, "uint8")


@pytest.mark.parametrize(("batch", "channels"), [(1, 64), (3, 16), (2, 97), (2, 7), (1, 140)])
def test_gate_on_the_way_into_a_convolution(batch: int, channels: int) -> None:
    case, model = gated_model(batch, channels)
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    assert np.ptp(expected) > 100
    for isa in available_isas():
        together, apart, result = same_bytes_apart(case, model, isa)
        assert np.abs(result.astype(int) - expected).max() <= 2
        assert not any("mul" in info.kernel for info in together.explain())
        assert any("mul" in info.kernel for info in apart.explain())


def residual_model(
    is_first: bool, relu: bool, other: str, size: tuple[int, int] = (9, 11)
) -> tuple[Case, onnx.ModelProto]:
    """Codes of a convolution added to those of its input, of another one, or to themselves."""
    nodes = [
        node("Conv", "x f", "before"),
        node("Relu", "before", "r"),
        node("QuantizeLinear", "r scale none", "rc"),
        node("DequantizeLinear", "rc scale none", "rd"),
        node("Conv", "rd w b", "c"),
        node("QuantizeLinear", "c scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("Conv", "rd v", "e"),
        node("QuantizeLinear", "e scale zero", "ec"),
        node("DequantizeLinear", "ec scale zero", "ed"),
        node("Add", f"d {other}" if is_first else f"{other} d", "s" if relu else "y"),
    ]
    if relu:
        nodes.append(node("Relu", "s", "y"))
    weights = {
        "w": numbers(70, 70, 1, 1, seed=1) / np.float32(8),
        "v": numbers(70, 70, 1, 1, seed=2) / np.float32(9),
        "f": numbers(70, 70, 1, 1, seed=4) / np.float32(9),
        "b": numbers(70, seed=3),
        "scale": np.asarray(0.021, np.float32),
        "zero": np.asarray(120, np.uint8),
        "none": np.asarray(0, np.uint8),
    }
    case = Case("residual", nodes, {"x": numbers(2, 70, *size)}, weights, {"w": 0, "v": 0, "f": 0})
    return case, quantized_model(case, "uint8")


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("other", ["rd", "ed", "d"])
def test_addition_on_the_way_of_a_convolution(is_first: bool, relu: bool, other: str) -> None:
    case, model = residual_model(is_first, relu, other)
    expected = run_onnxruntime(model, case.inputs)[0].astype(int)
    assert np.ptp(expected) > 100
    for isa in available_isas():
        together, _, result = same_bytes_apart(case, model, isa)
        # One code of q is up to two of the result.
        assert np.abs(result.astype(int) - expected).max() <= (2 if other != "d" else 4)
        assert not any(info.kernel.startswith("add") for info in together.explain())


def test_addition_of_more_than_a_cache_is_a_step_of_its_own() -> None:
    case, model = residual_model(True, True, "rd", size=(86, 88))
    together, _, _ = same_bytes_apart(case, model, available_isas()[-1])
    assert any(info.kernel.startswith("add") for info in together.explain())


@pytest.mark.parametrize("opset", [9, 13])
def test_a_batch_normalization_that_trains_stays_out_of_the_convolution(opset: int) -> None:
    """Five outputs, of which nobody reads four, say before opset 14 that it trains."""
    x = {"x": numbers(2, 5, 9, 11)}
    weights = {"w": numbers(7, 5, 3, 3, seed=1)} | {
        name: np.abs(numbers(7, seed=seed)) + np.float32(0.5) for seed, name in enumerate("sbmv", 2)
    }
    nodes = [node("Conv", "x w", "c"), node("BatchNormalization", "c s b m v", "y e f g h")]
    model = model_of(nodes, x, weights, ["y"], opset)
    (result,) = Session(model).run(x).values()
    np.testing.assert_allclose(result, run_onnxruntime(model, x)[0], rtol=1e-4, atol=1e-4)
