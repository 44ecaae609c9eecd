"""onnxruntime's eight-bit operators: the standard form answers as onnxruntime does."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from q8tool import Session
from q8tool.model.check import check
from q8tool.model.foreign import DOMAIN, has_foreign_operators, standardize_operators
from tests.build import run_onnxruntime
from tests.graphs import Array, f32, i8, i32, u8


def foreign(
    op: str, inputs: dict[str, Array], weights: dict[str, Array], order: str, **attributes: Any
) -> onnx.ModelProto:
    """One node of onnxruntime's domain whose result is uint8, or float32 if `order` ends early."""
    node = helper.make_node(op, order.split(), ["y"], name="n", domain=DOMAIN, **attributes)
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    kind = onnx.TensorProto.UINT8 if "ys" in weights else onnx.TensorProto.FLOAT
    rank = 2 if op == "QGemm" else 4
    result = helper.make_tensor_value_info("y", kind, [None] * rank)
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([node], "g", values, [result], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def codes(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


X, Z = {"x": codes(1, 4, 6, 6)}, {"z": codes(1, 4, 1, 1, seed=1)}
PARAMS = {
    "xs": f32(0.05), "xz": u8(100), "zs": f32(0.02), "zz": u8(30), "ys": f32(0.06), "yz": u8(110),
}  # fmt: skip
UNARY, BINARY = "x xs xz ys yz", "x xs xz z zs zz ys yz"
GATE = {**PARAMS, "ys": f32(1 / 256), "yz": u8(0)}
WEIGHTS = {
    "w": codes(5, 8, seed=2).astype(np.int8), "ws": f32([0.1, 0.2, 0.3, 0.1, 0.2]),
    "wz": i8([0] * 5), "b": i32([900, -500, 0, 44, 1]),
}  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        foreign("QLinearAdd", {**X, **Z}, PARAMS, BINARY),
        foreign("QLinearMul", {**X, **Z}, {**PARAMS, "ys": f32(0.3)}, BINARY),
        foreign("QLinearSigmoid", X, GATE, UNARY),
        foreign("QLinearLeakyRelu", X, PARAMS, UNARY, alpha=0.2),
        foreign("QLinearSoftmax", X, GATE, UNARY, axis=-1, opset=13),
        foreign("QLinearGlobalAveragePool", X, PARAMS, UNARY),
        foreign(
            "QLinearAveragePool", X, PARAMS, UNARY,
            kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1,
        ),
        foreign(
            "QLinearConcat", {**X, "z": codes(1, 2, 6, 6)}, PARAMS, "ys yz x xs xz z zs zz", axis=1
        ),
        foreign(
            "QGemm", {"x": codes(3, 8)}, {**PARAMS, **WEIGHTS, "ys": f32(9)},
            "x xs xz w ws wz b ys yz", transB=1,
        ),
        foreign(
            "QGemm", {"x": codes(3, 8)},
            {"xs": f32(0.1), "xz": u8(9), "w": codes(8, 5), "ws": f32(0.2), "wz": u8(128)},
            "x xs xz w ws wz",
        ),
    ],
    ids=lambda model: model.graph.node[0].op_type,
)  # fmt: skip
def test_same_answers(model: onnx.ModelProto) -> None:
    inputs = {value.name for value in model.graph.input}
    feeds = {name: array for name, array in {**X, **Z}.items() if name in inputs}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name not in feeds or list(feeds[value.name].shape) != shape:
            feeds[value.name] = codes(*shape, seed=5)
    expected = run_onnxruntime(model, feeds)[0]
    standard = ir.from_proto(model)
    assert has_foreign_operators(standard)
    assert len(standardize_operators(standard)) == 1
    assert not has_foreign_operators(standard)
    assert DOMAIN not in standard.opset_imports
    check(standard, "model")
    for form in (model, standard):
        result = Session(form).run(feeds)["y"]
        assert result.dtype == expected.dtype
        if result.dtype == np.float32:
            np.testing.assert_allclose(result, expected, rtol=1e-5)
        else:
            # onnxruntime adds and averages with a ratio of scales in float32, which moves ties.
            is_exact = model.graph.node[0].op_type not in ("QLinearAdd", "QLinearAveragePool")
            assert np.abs(result.astype(int) - expected).max() <= 1 - is_exact


def test_scales_per_column_before_the_standard_had_them() -> None:
    model = foreign(
        "QGemm", {"x": codes(3, 8)}, {**PARAMS, **WEIGHTS, "ys": f32(9)},
        "x xs xz w ws wz b ys yz", transB=1,
    )  # fmt: skip
    feeds = {"x": codes(3, 8, seed=3)}
    expected = Session(model).run(feeds)["y"]
    model.opset_import[0].version = 11
    standard = ir.from_proto(model)
    standardize_operators(standard)
    check(standard, "model")
    assert np.abs(Session(standard).run(feeds)["y"].astype(int) - expected).max() <= 1


def test_what_nobody_knows_stays() -> None:
    weights = {**PARAMS, "channels": i32(1)}
    model = ir.from_proto(foreign("QLinearAveragePool", X, weights, UNARY, channels_last=1))
    assert not has_foreign_operators(model)
    assert standardize_operators(model) == []
    assert DOMAIN in model.opset_imports
