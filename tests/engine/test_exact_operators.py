"""The quantized operators give onnxruntime's bytes: at every instruction set, on 1 to 3 threads."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from q8tool import Session
from tests.build import run_onnxruntime
from tests.conftest import available_isas

Array = npt.NDArray[Any]
CODE_TYPES = ("uint8", "int8")
EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


def one_node(op_type: str, inputs: dict[str, Array], fed: list[str], **attributes: Any) -> Any:
    """A model of one node; inputs that are not fed become initializers."""
    outputs = ["y"] if op_type != "DynamicQuantizeLinear" else ["y", "y_scale", "y_zero_point"]
    node = helper.make_node(op_type, list(inputs), outputs, name="node", **attributes)
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), inputs[name].shape
        )
        for name in fed
    ]
    graph = helper.make_graph(
        [node],
        "one",
        values,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in inputs.items() if name not in fed],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def same_as_onnxruntime(model: onnx.ModelProto, feeds: dict[str, Array]) -> None:
    expected = run_onnxruntime(model, feeds)
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            for result, wanted in zip(session.run(feeds).values(), expected, strict=True):
                assert result.dtype == wanted.dtype
                assert result.shape == wanted.shape
                np.testing.assert_array_equal(result, wanted, err_msg=f"{isa}, {threads} threads")


def codes(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array:
    """Codes over the whole range, often at its ends."""
    info = np.iinfo(dtype)
    array = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    ends = rng.random(shape)
    array[ends < 0.1] = info.min
    array[ends > 0.9] = info.max
    return array


def zero_point(rng: np.random.Generator, dtype: str, shape: tuple[int, ...] = ()) -> Array:
    return np.asarray(codes(rng, dtype, (*shape, 1)).reshape(shape))


def scales(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Array:
    return np.asarray(np.exp(rng.uniform(-6, 1, shape)), np.float32)


def output_scale(rng: np.random.Generator, length: int, x_scale: Array, w_scale: Array) -> Array:
    """A scale that spreads sums of `length` products over the eight bits."""
    spread = 60.0 * 60.0 * np.sqrt(length) * float(x_scale) * float(np.max(w_scale)) / 60.0
    return np.asarray(spread * np.exp(rng.uniform(-1, 1)), np.float32)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    depthwise = draw(st.booleans()) and groups > 1
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    dilations = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    size = [
        max(reach[axis] - pads[axis] - pads[axis + 2], 1) + draw(st.integers(0, 9))
        for axis in (0, 1)
    ]
    inside = 1 if depthwise else draw(st.integers(1, 9))
    outside = 1 if depthwise else draw(st.integers(1, 9))
    if draw(st.booleans()) and groups == 1:
        inside, outside = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    if depthwise:
        groups = draw(st.sampled_from([2, 5, 16, 33]))
    return {
        "batch": draw(st.integers(1, 2)),
        "size": tuple(size),
        "channels": groups * inside,
        "outputs": groups * outside,
        "kernel": kernel,
        "attributes": {
            "group": groups,
            "dilations": list(dilations),
            "pads": pads,
            "strides": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        },
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def picture_and_weights(
    conv: dict[str, Any], rng: np.random.Generator, x_type: str, w_type: str
) -> tuple[Array, Array]:
    x = codes(rng, x_type, (conv["batch"], conv["channels"], *conv["size"]))
    inside = conv["channels"] // conv["attributes"]["group"]
    return x, codes(rng, w_type, (conv["outputs"], inside, *conv["kernel"]))


@EXAMPLES
@given(
    convolutions(),
    st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]),
    st.booleans(),
    st.booleans(),
)
def test_qlinear_conv(
    conv: dict[str, Any], types: tuple[str, str], has_bias: bool, per_channel: bool
) -> None:
    rng = np.random.default_rng(conv["seed"])
    x, w = picture_and_weights(conv, rng, *types)
    x_scale, w_scale = scales(rng), scales(rng, (conv["outputs"],) if per_channel else ())
    inputs = {
        "x": x,
        "x_scale": x_scale,
        "x_zero_point": zero_point(rng, types[0]),
        "w": w,
        "w_scale": w_scale,
        # onnxruntime takes one zero point for all channels
        "w_zero_point": np.broadcast_to(zero_point(rng, types[1]), w_scale.shape).copy(),
        "y_scale": output_scale(rng, w[0].size, x_scale, w_scale),
        "y_zero_point": zero_point(rng, types[0]),
    }
    if has_bias:
        inputs["bias"] = rng.integers(-5000, 5000, conv["outputs"]).astype(np.int32)
    model = one_node("QLinearConv", inputs, ["x"], **conv["attributes"])
    same_as_onnxruntime(model, {"x": x})


@EXAMPLES
@given(convolutions(), st.sampled_from(CODE_TYPES), st.sampled_from(["none", "constant", "fed"]))
def test_conv_integer(conv: dict[str, Any], w_type: str, zero_points: str) -> None:
    rng = np.random.default_rng(conv["seed"])
    x, w = picture_and_weights(conv, rng, "uint8", w_type)
    inputs, fed = {"x": x, "w": w}, ["x"]
    if zero_points != "none":
        inputs["x_zero_point"] = zero_point(rng, "uint8")
        inputs["w_zero_point"] = zero_point(rng, w_type)
        fed += ["x_zero_point"] if zero_points == "fed" else []
    model = one_node("ConvInteger", inputs, fed, **conv["attributes"])
    same_as_onnxruntime(model, {name: inputs[name] for name in fed})


@st.composite
def products(draw: st.DrawFn) -> dict[str, Any]:
    batch = draw(st.sampled_from([(), (1,), (2,), (2, 3)]))
    m, k, n = (draw(st.integers(1, 70)) for _ in range(3))
    is_matrix = draw(st.booleans())
    return {
        "a": (*batch, m, k),
        "b": (k, n) if is_matrix else (*batch, k, n),
        "is_constant": draw(st.booleans()),
        "types": draw(st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@EXAMPLES
@given(products(), st.booleans())
def test_qlinear_matmul(product: dict[str, Any], per_column: bool) -> None:
    rng = np.random.default_rng(product["seed"])
    a_type, b_type = product["types"]
    a, b = codes(rng, a_type, product["a"]), codes(rng, b_type, product["b"])
    is_per_column = per_column and product["is_constant"] and b.ndim == 2
    a_scale, b_scale = scales(rng), scales(rng, (b.shape[-1],) if is_per_column else ())
    inputs = {
        "a": a,
        "a_scale": a_scale,
        "a_zero_point": zero_point(rng, a_type),
        "b": b,
        "b_scale": b_scale,
        "b_zero_point": zero_point(rng, b_type, b_scale.shape),
        "y_scale": output_scale(rng, a.shape[-1], a_scale, b_scale),
        "y_zero_point": zero_point(rng, a_type),
    }
    fed = ["a"] if product["is_constant"] else ["a", "b"]
    model = one_node("QLinearMatMul", inputs, fed)
    same_as_onnxruntime(model, {name: inputs[name] for name in fed})


@EXAMPLES
@given(products(), st.sampled_from(["none", "constant", "fed"]), st.booleans())
def test_matmul_integer(product: dict[str, Any], zero_points: str, per_column: bool) -> None:
    rng = np.random.default_rng(product["seed"])
    a_type, b_type = product["types"]
    inputs = {"a": codes(rng, a_type, product["a"]), "b": codes(rng, b_type, product["b"])}
    fed = ["a"] if product["is_constant"] else ["a", "b"]
    if zero_points != "none":
        is_vector = per_column and product["is_constant"] and inputs["b"].ndim == 2
        shape = (inputs["b"].shape[-1],) if is_vector else ()
        inputs["a_zero_point"] = zero_point(rng, a_type)
        inputs["b_zero_point"] = zero_point(rng, b_type, shape)
        fed += ["a_zero_point"] if zero_points == "fed" else []
    model = one_node("MatMulInteger", inputs, fed)
    same_as_onnxruntime(model, {name: inputs[name] for name in fed})


@EXAMPLES
@given(
    st.lists(st.integers(1, 40), min_size=0, max_size=4),
    st.sampled_from(CODE_TYPES),
    st.integers(0, 2**32 - 1),
)
def test_quantize_linear(shape: list[int], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 40, shape[:3]).astype(np.float32)
    # Many ties: multiples of half a scale that is a power of two.
    scale = np.float32(2.0 ** rng.integers(-6, 6)) if rng.random() < 0.5 else scales(rng)
    x = np.asarray(np.where(rng.random(x.shape) < 0.5, np.rint(x) * scale / 2, x), np.float32)
    inputs = {"x": x, "y_scale": np.asarray(scale), "y_zero_point": zero_point(rng, dtype)}
    same_as_onnxruntime(one_node("QuantizeLinear", inputs, ["x"]), {"x": x})


@EXAMPLES
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.sampled_from(["normal", "positive", "negative", "zero", "tiny", "huge"]),
    st.integers(0, 2**32 - 1),
)
def test_dynamic_quantize_linear(shape: list[int], kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 40, shape)
    factor = {"zero": 0.0, "tiny": 1e-30, "huge": 1e30}.get(kind, 1.0)
    x = {"positive": np.abs(x), "negative": -np.abs(x)}.get(kind, x * factor)
    inputs = {"x": np.asarray(x, np.float32)}
    same_as_onnxruntime(one_node("DynamicQuantizeLinear", inputs, ["x"]), inputs)


@pytest.mark.parametrize("is_constant", [True, False])
def test_int8_by_uint8_which_onnxruntime_lacks(rng: np.random.Generator, is_constant: bool) -> None:
    a, b = codes(rng, "int8", (5, 37)), codes(rng, "uint8", (37, 9))
    inputs = {
        "a": a,
        "b": b,
        "a_zero_point": np.asarray(-7, np.int8),
        "b_zero_point": np.asarray(201, np.uint8),
    }
    model = one_node("MatMulInteger", inputs, ["a"] if is_constant else ["a", "b"])
    expected = (a.astype(np.int32) + 7) @ (b.astype(np.int32) - 201)
    for isa in available_isas():
        session = Session(model, 2, isa, strict=True)
        feeds = {"a": a} if is_constant else {"a": a, "b": b}
        np.testing.assert_array_equal(session.run(feeds)["y"], expected)


@pytest.mark.parametrize("dtype", CODE_TYPES)
def test_dequantize_linear_of_every_code(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.arange(info.min, info.max + 1).astype(dtype).reshape(16, 16)
    for point in (info.min, -1 if dtype == "int8" else 1, 77, info.max):
        inputs = {
            "x": x,
            "x_scale": np.asarray(0.0371, np.float32),
            "x_zero_point": np.asarray(point, dtype),
        }
        same_as_onnxruntime(one_node("DequantizeLinear", inputs, ["x"]), {"x": x})
