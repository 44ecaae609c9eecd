"""The host's own operators against onnxruntime, where onnx.reference has other rules or none."""

from typing import Any

import numpy as np
import onnx
import pytest

from q8tool.errors import InputError, UnsupportedError
from q8tool.ops import convolution
from q8tool.ops.host import HostOperator
from tests.build import Array, model_of, node, run_onnxruntime


def on_host(item: onnx.NodeProto, inputs: dict[str, Array], opset: int = 13) -> Array:
    names = [name for name in item.input if name]
    operator = HostOperator(item, names, {"": opset})
    return np.asarray(operator.run([inputs[name] for name in names])[0])


def same_as_onnxruntime(
    op: str, inputs: dict[str, Array], opset: int = 13, /, **attributes: Any
) -> None:
    item = node(op, " ".join(inputs), "y", **attributes)
    expected = run_onnxruntime(model_of([item], inputs, {}, ["y"], opset), inputs)[0]
    result = on_host(item, inputs, opset)
    assert result.dtype == expected.dtype
    if result.dtype == np.float32:
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(result, expected)


def scalar(value: float, dtype: str = "float32") -> Array:
    return np.asarray(value, dtype)


@pytest.mark.parametrize("zero_point", [0, 1, 2, 255])
def test_qlinear_conv_rounds_before_it_adds_the_zero_point(zero_point: int) -> None:
    # Half of 0..15: every second value is a tie; 1, 3 must give 0, 2 above the zero point.
    inputs = {
        "x": np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4),
        "xs": scalar(0.5),
        "xz": scalar(0, "uint8"),
        "w": np.ones((1, 1, 1, 1), np.int8),
        "ws": scalar(1),
        "wz": scalar(0, "int8"),
        "ys": scalar(1),
        "yz": scalar(zero_point, "uint8"),
    }
    result = on_host(node("QLinearConv", " ".join(inputs), "y"), inputs)
    by_hand = [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6, 6, 7, 8]
    np.testing.assert_array_equal(result.ravel(), np.minimum(np.add(by_hand, zero_point), 255))


@pytest.fixture(params=["all at once", "tap by tap"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How small convolutions and large ones are multiplied."""
    if request.param == "tap by tap":
        monkeypatch.setattr(convolution, "_MOST_COPIED", 0)


@pytest.mark.usefixtures("either_way")
def test_convolutions_of_any_rank_and_group(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(2, 4, 5, 6, 7)), rng.normal(size=(6, 2, 2, 3, 2))
    inputs = {"x": x.astype(np.float32), "w": w.astype(np.float32)}
    same_as_onnxruntime("Conv", inputs, group=2, strides=[1, 2, 1], pads=[0, 1, 0, 1, 1, 0])
    line = {"x": inputs["x"][:, :, 0, 0], "w": inputs["w"][:, :, 0, 0]}
    same_as_onnxruntime("Conv", line, group=2, dilations=[3])
    plane = {"x": inputs["x"][:, :, 0], "w": inputs["w"][:, :, 0]}
    same_as_onnxruntime("Conv", plane, group=2, strides=[2, 2], auto_pad="SAME_LOWER")


@pytest.mark.usefixtures("either_way")
def test_a_convolution_of_each_channel(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(2, 4, 7, 9)), rng.normal(size=(8, 1, 3, 4))
    inputs = {"x": x.astype(np.float32), "w": w.astype(np.float32)}
    same_as_onnxruntime("Conv", inputs, group=4, dilations=[2, 1], pads=[2, 1, 0, 3])


def test_padding_and_steps_of_gigabytes(rng: np.random.Generator) -> None:
    """Formula: nine windows, the middle one alone has pixels, those of its first places."""
    x, w = rng.normal(size=(1, 2, 5, 4)), rng.normal(size=(3, 2, 2, 2))
    inputs = {"x": x.astype(np.float32), "w": w.astype(np.float32)}
    conv = node("Conv", "x w", "y", pads=[65536] * 4, strides=[65536] * 2)
    result = on_host(conv, inputs)
    expected = np.zeros((1, 3, 3, 3))
    expected[..., 1, 1] = np.einsum("nchw,ochw->no", x[..., :2, :2], w)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("either_way")
def test_integer_convolution(rng: np.random.Generator) -> None:
    inputs = {
        "x": rng.integers(0, 256, (2, 3, 6, 5)).astype(np.uint8),
        "w": rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8),
        "xz": scalar(131, "uint8"),
        "wz": scalar(-7, "int8"),
    }
    same_as_onnxruntime("ConvInteger", inputs, pads=[1, 0, 1, 1], strides=[1, 2])


@pytest.mark.parametrize("per_column", [False, True])
def test_products_of_codes(rng: np.random.Generator, per_column: bool) -> None:
    columns = (7,) if per_column else ()
    a = rng.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    b = rng.integers(-128, 128, (5, 7)).astype(np.int8)
    zero = np.asarray(rng.integers(-20, 20, columns), np.int8)
    scale = np.asarray(rng.uniform(0.01, 0.1, columns), np.float32)
    integer = {"a": a, "b": b, "az": scalar(99, "uint8"), "bz": np.asarray(zero)}
    same_as_onnxruntime("MatMulInteger", integer)
    inputs = {
        "a": a,
        "as": scalar(0.02),
        "az": scalar(99, "uint8"),
        "b": b,
        "bs": scale,
        "bz": np.asarray(zero),
        "ys": scalar(0.4),
        "yz": scalar(120, "uint8"),
    }
    same_as_onnxruntime("QLinearMatMul", inputs)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_dequantize_linear_along_an_axis(rng: np.random.Generator, axis: int, dtype: str) -> None:
    x = rng.integers(0, 127, (3, 4, 5)).astype(dtype)
    size = x.shape[axis]
    zero = np.asarray(rng.integers(0, 1 if dtype == "int32" else 9, size), dtype)
    inputs = {"x": x, "s": np.asarray(rng.uniform(0.1, 2, size), np.float32), "z": zero}
    same_as_onnxruntime("DequantizeLinear", inputs, axis=axis)
    per_tensor = {"x": x, "s": scalar(0.5), "z": np.asarray(zero[0])}
    same_as_onnxruntime("DequantizeLinear", per_tensor, 10)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantize_linear_along_an_axis(rng: np.random.Generator, dtype: str) -> None:
    x = np.asarray(rng.normal(0, 30, (3, 4, 5)), np.float32)
    inputs = {
        "x": x,
        "s": rng.uniform(0.1, 2, 4).astype(np.float32),
        "z": rng.integers(0, 100, 4).astype(dtype),
    }
    same_as_onnxruntime("QuantizeLinear", inputs, axis=1)


def test_batch_normalization_of_opset_9_infers(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    names = ("scale", "bias", "mean", "variance")
    parameters = {name: rng.uniform(0.5, 2, 3).astype(np.float32) for name in names}
    same_as_onnxruntime("BatchNormalization", {"x": x, **parameters}, 9, momentum=0.9)


@pytest.mark.parametrize("opset", [7, 9, 13])
def test_batch_normalization_with_all_outputs_trains(rng: np.random.Generator, opset: int) -> None:
    x = rng.normal(3, 2, (2, 3, 4, 5)).astype(np.float32)
    names = ("scale", "bias", "mean", "variance")
    feeds = {"x": x} | {name: rng.uniform(0.5, 2, 3).astype(np.float32) for name in names}
    item = node("BatchNormalization", " ".join(feeds), "y a b c d", momentum=0.75)
    found = HostOperator(item, list(feeds), {"": opset}).run(list(feeds.values()))
    axes = (0, 2, 3)
    assert len(found) == 5
    np.testing.assert_allclose(found[1], 0.75 * feeds["mean"] + 0.25 * x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(found[2], 0.75 * feeds["variance"] + 0.25 * x.var(axes), rtol=1e-5)
    np.testing.assert_allclose(found[3], x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(found[4], x.var(axes), rtol=1e-5)
    wanted = run_onnxruntime(model_of([item], feeds, {}, ["y"], opset), feeds)[0]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)


def test_scatter(rng: np.random.Generator) -> None:
    inputs = {
        "data": rng.normal(size=(3, 4)).astype(np.float32),
        "indices": np.asarray([[1, 0, 2, 1]]),
        "updates": rng.normal(size=(1, 4)).astype(np.float32),
    }
    same_as_onnxruntime("Scatter", inputs, 10)


def test_a_node_that_fails_is_named() -> None:
    inputs = {"x": np.zeros((2, 3), np.float32), "i": np.asarray([7])}
    with pytest.raises(InputError, match=r"'Gather_y' \(Gather\) failed: .*out of bounds"):
        on_host(node("Gather", "x i", "y"), inputs)


def test_operators_of_onnxruntime_get_a_hint() -> None:
    item = node("QLinearAdd", "a b", "y", domain="com.microsoft")
    with pytest.raises(UnsupportedError, match="operator QLinearAdd of domain") as caught:
        HostOperator(item, ["a", "b"], {"": 17, "com.microsoft": 1})
    assert "not standard" in caught.value.hint


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements_of_long_axes(axis: int, rng: np.random.Generator) -> None:
    data = rng.normal(size=(200, 90)).astype(np.float32)
    indices = rng.integers(-90, 90, (70, 80))
    same_as_onnxruntime("GatherElements", {"data": data, "indices": indices}, axis=axis)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("as_scalar", [False, True])
def test_non_max_suppression(center: int, as_scalar: bool, rng: np.random.Generator) -> None:
    boxes = rng.uniform(0, 4, (2, 60, 4)).astype(np.float32)
    boxes[:, 30:] = boxes[:, :30]  # equal boxes, whose IoU is 1
    limits = {"m": np.asarray(7), "i": scalar(0.3), "s": scalar(0.2)}
    limits = {name: limit if as_scalar else limit.reshape(1) for name, limit in limits.items()}
    scores = rng.uniform(0, 1, (2, 3, 60)).astype(np.float32)
    inputs = {"b": boxes, "c": scores, **limits}
    same_as_onnxruntime("NonMaxSuppression", inputs, center_point_box=center)
    del inputs["i"], inputs["s"]
    same_as_onnxruntime("NonMaxSuppression", inputs, center_point_box=center)


@pytest.mark.parametrize("times", [0, 3])
def test_loop_without_a_condition_stacks_what_it_scans(times: int) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
    g (int64 m, float[2,3] h) => (float[2,3] last, float[N,2,3] all, float[K] sums) {
        last, all, sums = Loop(m, , h) <body = b (int64 i, bool c, float[2,3] x)
            => (bool d, float[2,3] y, float[2,3] z, float s) {
                d = Identity(c)  y = Add(x, x)  z = Mul(y, h)  s = ReduceSum<keepdims=0>(y) }> }"""
    model = onnx.parser.parse_model(text)
    inputs = {"m": np.asarray(times), "h": np.arange(6, dtype=np.float32).reshape(2, 3)}
    expected = run_onnxruntime(model, inputs)
    results = HostOperator(model.graph.node[0], ["m", "h"], {"": 13}).run(list(inputs.values()))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("mode", "opset"),
    [("bilinear", 16), ("bicubic", 16), ("nearest", 16), ("linear", 20), ("cubic", 20)],
)
def test_grid_sample_under_its_old_and_new_names(
    mode: str, opset: int, padding: str, aligned: int
) -> None:
    generator = np.random.default_rng(5)
    inputs = {
        "x": generator.standard_normal((2, 3, 5, 6), dtype=np.float32),
        "grid": generator.uniform(-1.6, 1.6, (2, 4, 7, 2)).astype(np.float32),
    }
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    same_as_onnxruntime("GridSample", inputs, opset, **attributes)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes(mode: str, padding: str, aligned: int) -> None:
    generator = np.random.default_rng(6)
    inputs = {
        "x": generator.standard_normal((2, 3, 4, 5, 6), dtype=np.float32),
        "grid": generator.uniform(-1.6, 1.6, (2, 2, 4, 3, 3)).astype(np.float32),
    }
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    same_as_onnxruntime("GridSample", inputs, 20, **attributes)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"),
    [
        ("Flatten", [(0, 4, 3)], {}),
        ("Flatten", [(0,)], {}),
        ("Conv", [(0, 2, 5, 6), (3, 2, 3, 3)], {}),
        ("ConvTranspose", [(0, 2, 5, 6), (2, 3, 3, 3)], {"strides": [2, 2]}),
        ("GlobalAveragePool", [(0, 2, 5, 6)], {}),
        ("MaxPool", [(0, 2, 5, 6)], {"kernel_shape": [2, 2]}),
        ("GridSample", [(1, 2, 4, 4), (1, 0, 3, 2)], {}),
        ("Gemm", [(0, 4), (4, 3), (3,)], {}),
    ],
)
def test_nothing_was_found(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]
) -> None:
    inputs = {f"x{position}": np.zeros(shape, np.float32) for position, shape in enumerate(shapes)}
    same_as_onnxruntime(op, inputs, 16, **attributes)


def test_nothing_of_unknown_shape_is_refused() -> None:
    inputs = {"x": np.zeros((0, 4), np.float32), "shape": np.asarray([3, 5])}
    with pytest.raises(InputError, match="Reshape"):
        on_host(node("Reshape", "x shape", "y"), inputs)


def test_gather_nd_in_one_call() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for indices in ([[0, 1], [1, -1]], [[[1]], [[0]]], np.zeros((0, 2), np.int64)):
        inputs: dict[str, Array] = {"x": x, "i": np.asarray(indices, np.int64)}
        same_as_onnxruntime("GatherND", inputs)
    with pytest.raises(InputError, match="GatherND"):
        on_host(node("GatherND", "x i", "y"), {"x": x, "i": np.asarray([[2]])})


def test_endless_lines_without_elements() -> None:
    """numpy would multiply 2 ** 32 pairs of empty matrices; a few of them it does."""
    product = HostOperator(
        onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"]), "ab", {"": 13}
    )
    right = np.zeros((3, 2), np.uint8)
    assert product.run([np.zeros((7, 2, 0, 3), np.uint8), right])[0].shape == (7, 2, 0, 2)
    with pytest.raises(InputError, match="too large in its other dimensions"):
        product.run([np.zeros((1 << 31, 2, 0, 3), np.uint8), right])
