"""The dynamic form: DynamicQuantizeLinear, an integer product, and floats, fused into one step."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from q8tool import Session
from tests.build import Array, int8_weights, model_of, node, run_onnxruntime
from tests.conftest import available_isas
from tests.engine.cases import numbers


def chain(op: str, weights: dict[str, Array], tail: str, **attributes: Any) -> list[NodeProto]:
    """x -> codes -> sums -> floats; tail: "", "add" or "add relu"."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("Mul", "s w_scale", "scale"),
        node(op, "q w z w_zero", "sums", **attributes),
        node("Cast", "sums", "real", to=1),
        node("Mul", "real scale", "product"),
    ]
    if "add" in tail:
        nodes.append(node("Add", "product bias", "biased"))
    if "relu" in tail:
        nodes.append(node("Relu", "biased", "relu"))
    return nodes


@pytest.mark.parametrize("tail", ["", "add", "add relu"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "matmul", "volume"])
def test_the_fused_chain_gives_the_bytes_of_its_parts(kind: str, tail: str) -> None:
    x = numbers(2, 6, 4, 5, 8) if kind == "volume" else numbers(2, 6, 9, 8)
    shapes = {
        "conv": (7, 6, 3, 3), "depthwise": (6, 1, 3, 3), "matmul": (8, 5), "volume": (7, 6, 3, 2, 3)
    }  # fmt: skip
    codes, scale = int8_weights(
        numbers(*shapes[kind], low=-1, high=1), 1 if kind == "matmul" else 0
    )
    places = (5,) if kind == "matmul" else (1, -1, *[1] * (x.ndim - 2))
    weights = {
        "w": codes,
        "w_scale": scale.reshape(places),
        "w_zero": np.asarray(0, np.int8),
        "bias": numbers(len(scale)).reshape(places),
    }
    if kind == "matmul":
        nodes = chain("MatMulInteger", weights, tail)
    else:
        groups = 6 if kind == "depthwise" else 1
        pads = [1] * (x.ndim - 2) + [0] * (x.ndim - 2)
        nodes = chain("ConvInteger", weights, tail, group=groups, pads=pads)
    model = model_of(nodes, {"x": x}, weights, [nodes[-1].output[0]])
    expected = run_onnxruntime(model, {"x": x})[0]
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            result = next(iter(session.run({"x": x}).values()))
            np.testing.assert_array_equal(result, expected)
    ops = [step.op for step in session.explain()]
    wanted = {"": "Cast+Mul", "add": "Cast+Mul+Add", "add relu": "Cast+Mul+Add+Relu"}[tail]
    assert any(op.endswith(f"Integer+{wanted}") for op in ops), ops


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_codes_follow_from_the_sums_at_once(kind: str) -> None:
    x = numbers(2, 6, 9, 8)
    shape = {"conv": (7, 6, 3, 3), "depthwise": (6, 1, 3, 3)}[kind]
    codes, scale = int8_weights(numbers(*shape, low=-1, high=1), 0)
    weights = {
        "w": codes,
        "w_scale": scale.reshape(1, -1, 1, 1),
        "w_zero": np.asarray(0, np.int8),
        "bias": numbers(len(scale)).reshape(1, -1, 1, 1),
        "y_scale": np.asarray(0.04, np.float32),
        "y_zero": np.asarray(3, np.uint8),
    }
    groups = 6 if kind == "depthwise" else 1
    nodes = chain("ConvInteger", weights, "add relu", group=groups, pads=[1, 1, 0, 0])
    nodes.append(node("QuantizeLinear", "relu y_scale y_zero", "y"))
    model = model_of(nodes, {"x": x}, weights, ["y"])
    expected = run_onnxruntime(model, {"x": x})[0].astype(np.int32)
    results = []
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            results.append(next(iter(session.run({"x": x}).values())))
            np.testing.assert_array_equal(results[-1], results[0])
    assert np.abs(results[0].astype(np.int32) - expected).max() <= 1
    assert len(np.unique(expected)) > 30
    assert any(step.op.endswith("+Relu+QuantizeLinear") for step in session.explain())


def product(x: str, y: str, weights: dict[str, Array], tail: str = "", **attributes: Any) -> Any:
    """The nodes of one dynamic convolution from `x` to `y`, with names of their own."""
    seed = sum(map(ord, y))
    codes, scale = int8_weights(numbers(6, 6, 3, 3, seed=seed, low=-1, high=1), 0)
    weights[f"{y}_w"], weights["zero"] = codes, np.asarray(0, np.int8)
    weights[f"{y}_ws"] = scale.reshape(1, -1, 1, 1)
    weights[f"{y}_b"] = numbers(6, seed=seed + 1).reshape(1, -1, 1, 1)
    attributes = {"pads": [1, 1, 1, 1], **attributes}
    return [
        node("DynamicQuantizeLinear", x, f"{y}_q {y}_s {y}_z"),
        node("Mul", f"{y}_s {y}_ws", f"{y}_scale"),
        node("ConvInteger", f"{y}_q {y}_w {y}_z zero", f"{y}_sums", **attributes),
        node("Cast", f"{y}_sums", f"{y}_real", to=1),
        node("Mul", f"{y}_real {y}_scale", f"{y}_product"),
        node("Add", f"{y}_product {y}_b", f"{y}_biased" if tail else y),
        *([node(tail, f"{y}_biased", y)] if tail else []),
    ]


def same_as_its_parts(nodes: list[NodeProto], x: Array, weights: dict[str, Array]) -> list[str]:
    """The names of the steps of a model whose result y has onnxruntime's bytes."""
    model = model_of(nodes, {"x": x}, weights, ["y"])
    expected = run_onnxruntime(model, {"x": x})[0]
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            for _ in range(2):
                result = next(iter(session.run({"x": x}).values()))
                np.testing.assert_array_equal(result, expected)
    return [step.kernel for step in session.explain()]


def test_a_residual_and_the_range_come_with_the_product() -> None:
    weights: dict[str, Array] = {}
    nodes = [
        *product("x", "a", weights, "Relu"),
        *product("a", "b", weights),
        node("Add", "b a", "sum"),
        node("Relu", "sum", "c"),
        *product("c", "d", weights),
        node("Add", "c d", "y"),
    ]
    kernels = same_as_its_parts(nodes, numbers(1, 6, 40, 36), weights)
    assert not any(kernel.startswith(("add", "clamp")) for kernel in kernels)
    assert sum("range" in kernel for kernel in kernels) == 1  # only of x


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_ranges_go_through_what_moves_values(pool: str) -> None:
    weights: dict[str, Array] = {}
    nodes = [
        *product("x", "a", weights, strides=[2, 2]),
        *product("x", "b", weights, strides=[2, 2]),
        node(pool, "x", "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Mul", "a b", "both"),
        *product("a", "again", weights),
        node("Concat", "again both pooled", "all", axis=2),
        *product("all", "y", weights),
    ]
    kernels = same_as_its_parts(nodes, numbers(2, 6, 20, 18), weights)
    assert sum("range" in kernel for kernel in kernels) == 2  # of x, twice


def test_the_range_of_a_part_is_not_that_of_the_whole() -> None:
    weights: dict[str, Array] = {}
    nodes = [
        *product("x", "a", weights),
        node("Slice", "a starts ends axes", "part"),
        *product("part", "y", weights),
    ]
    for name, value in (("starts", 1), ("ends", 5), ("axes", 2)):
        weights[name] = np.asarray([value], np.int64)
    kernels = same_as_its_parts(nodes, numbers(1, 6, 8, 8), weights)
    assert sum("range" in kernel for kernel in kernels) == 2


def test_two_products_share_one_quantization() -> None:
    x = numbers(4, 12)
    codes, scale = int8_weights(numbers(12, 5), None)
    weights = {"w": codes, "w_scale": scale, "w_zero": np.asarray(3, np.int8)}
    nodes = chain("MatMulInteger", weights, "")
    again = [
        node("MatMulInteger", "q w z", "sums2"),
        node("Cast", "sums2", "real2", to=1),
        node("Mul", "real2 scale", "product2"),
        node("Sub", "product product2", "y"),
    ]
    model = model_of([*nodes, *again], {"x": x}, weights, ["y", "sums2", "q", "z"])
    for result, wanted in zip(
        Session(model, strict=True).run({"x": x}).values(),
        run_onnxruntime(model, {"x": x}),
        strict=True,
    ):
        np.testing.assert_array_equal(result, wanted)


def test_a_function_is_applied_by_the_step_before_it() -> None:
    weights: dict[str, Array] = {}
    nodes = [
        *product("x", "a", weights),
        node("Relu", "a", "rectified"),
        node("Add", "rectified x", "sum"),
        node("Relu", "sum", "b"),
        *product("b", "y", weights),
    ]
    kernels = same_as_its_parts(nodes, numbers(1, 6, 30, 20), weights)
    assert not any(kernel.startswith("clamp") for kernel in kernels)


def test_swish_behind_products_of_codes_and_of_floats() -> None:
    weights: dict[str, Array] = {"w": numbers(6, 1, 3, 3, low=-1, high=1)}
    nodes = [
        *product("x", "a", weights),
        *[node("Sigmoid", "a", "gate"), node("Mul", "a gate", "b")],
        node("Conv", "b w", "c", group=6, pads=[1, 1, 1, 1]),
        *[node("Sigmoid", "c", "gate2"), node("Mul", "gate2 c", "y")],
    ]
    x = numbers(1, 6, 30, 20)
    model = model_of(nodes, {"x": x}, weights, ["y"])
    expected = run_onnxruntime(model, {"x": x})[0]
    for isa in available_isas():
        session = Session(model, 2, isa, strict=True)
        result = session.run({"x": x})["y"]
        # SiLU behind products of codes is within 1e-4, which nine weights of up to 1 add up.
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-3)
    assert not any(step.kernel.startswith("silu") for step in session.explain())


def product_weights(channels: int, results: int) -> dict[str, Array]:
    """Of a 1 x 1 convolution in eight bits, and its bias, as the nodes of chain() name them."""
    codes, scale = int8_weights(numbers(results, channels, 1, 1, low=-1, high=1), 0)
    return {
        "w": codes,
        "w_scale": scale.reshape(1, -1, 1, 1),
        "w_zero": np.asarray(0, np.int8),
        "bias": numbers(results).reshape(1, -1, 1, 1),
    }


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "channels"),
    [
        ((30, 20), 3, 1, [1, 1, 1, 1], 6),
        ((31, 22), 3, 2, [1, 1, 1, 1], 70),
        ((32, 32), 3, 2, [0, 0, 1, 1], 33),
        ((14, 14), 5, 1, [2, 2, 2, 2], 96),
        ((9, 13), 5, 2, [1, 2, 2, 1], 130),
        ((3, 3), 5, 1, [4, 4, 4, 4], 16),
        ((200, 120), 5, 1, [2, 0, 2, 0], 64),
    ],
)
def test_a_depthwise_convolution_is_fed_by_the_product_before_it(
    size: tuple[int, int], kernel: int, stride: int, pads: list[int], channels: int
) -> None:
    weights = {
        **product_weights(5, channels),
        "taps": numbers(channels, 1, kernel, kernel, low=-0.3, high=0.3),
        "shift": numbers(channels),
    }
    nodes = [
        *chain("ConvInteger", weights, "add"),
        *[node("Sigmoid", "biased", "gate"), node("Mul", "biased gate", "a")],
        node("Conv", "a taps shift", "b", group=channels, pads=pads, strides=[stride] * 2),
        *[node("Relu", "b", "c"), node("DynamicQuantizeLinear", "c", "y y_scale y_zero")],
    ]
    x = numbers(2, 5, *size)
    model = model_of(nodes, {"x": x}, weights, ["c", "y_scale"])
    expected = run_onnxruntime(model, {"x": x})
    results = []
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            results.append(session.run({"x": x}))
            for name, wanted in zip(("c", "y_scale"), expected, strict=True):
                # 25 weights of up to 0.3, SiLU behind products of codes within 1e-4
                np.testing.assert_allclose(results[-1][name], wanted, rtol=1e-4, atol=8e-4)
            np.testing.assert_array_equal(results[-1]["c"], results[-threads]["c"])
    kernels = [step.kernel for step in session.explain()]
    assert any(k.startswith(f"conv 1x1, depthwise {kernel}x{kernel}") for k in kernels), kernels


@pytest.mark.parametrize("extra", ["", "another reader"])
def test_a_gated_picture_is_quantized_without_being_written(extra: str) -> None:
    """Squeeze and excitation behind a depthwise convolution: mean and range come with it."""
    channels = 70
    weights = {
        **product_weights(5, channels),
        "taps": numbers(channels, 1, 3, 3, low=-0.3, high=0.3),
        "excite": numbers(channels, channels, 1, 1, low=-0.5, high=0.5),
    }
    nodes = [
        *chain("ConvInteger", weights, "add"),
        node("Conv", "biased taps", "b", group=channels, pads=[1, 1, 1, 1]),
        *[node("Sigmoid", "b", "gate"), node("Mul", "b gate", "c")],
        *[node("GlobalAveragePool", "c", "mean"), node("Conv", "mean excite", "e")],
        *[node("Mul", "e c", "gated"), node("DynamicQuantizeLinear", "gated", "y y_scale y_zero")],
    ]
    outputs = ["mean", "y", "y_scale", "y_zero", *(["gated"] if extra else [])]
    x = numbers(2, 5, 19, 14)
    model = model_of(nodes, {"x": x}, weights, outputs)
    expected = dict(zip(outputs, run_onnxruntime(model, {"x": x}), strict=True))
    for isa in available_isas():
        results = []
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            results.append(session.run({"x": x}))
            for name in outputs:
                got, wanted = results[-1][name].astype(float), expected[name].astype(float)
                allowed = 1 if name in ("y", "y_zero") else 3e-4
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=allowed)
                np.testing.assert_array_equal(results[-1][name], results[0][name])
    made = [step.op for step in session.explain() if step.kernel.startswith("dynamic_quantize")]
    assert ("Mul+DynamicQuantizeLinear" in made) == (extra == "")
    pools = [step for step in session.explain() if "pool" in step.kernel]
    assert not pools
