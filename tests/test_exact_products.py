"""The reference of other tests: products of codes are what integers say, on any CPU."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.build import run_onnxruntime
from tests.exact_products import exact_products

A = np.array([[255, 255, 0, 7], [255, 131, 255, 255]], np.uint8)
KINDS = list(itertools.product(["uint8", "int8"], repeat=2))
B = np.array([[127, -128], [127, -128], [-5, 127], [127, 3]], np.int8)


@pytest.mark.parametrize("is_constant", [True, False])
@pytest.mark.parametrize("zero_points", [(None, None), (3, None), (3, -7), (None, -7)])
def test_matmul_integer(zero_points: tuple[int | None, int | None], is_constant: bool) -> None:
    names = [f"zero{i}" if zero is not None else "" for i, zero in enumerate(zero_points)]
    arrays = {
        name: np.asarray(zero, dtype)
        for name, zero, dtype in zip(names, zero_points, (np.uint8, np.int8), strict=True)
        if zero is not None
    }
    inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, A.shape)]
    if is_constant:
        arrays["b"] = B
    else:
        inputs.append(helper.make_tensor_value_info("b", TensorProto.INT8, B.shape))
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b", *names], ["y"])], "one", inputs,
        [helper.make_tensor_value_info("y", TensorProto.INT32, (2, 2))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feeds = {"a": A} if is_constant else {"a": A, "b": B}
    a_zero, b_zero = (zero or 0 for zero in zero_points)
    wanted = (A.astype(np.int64) - a_zero) @ (B.astype(np.int64) - b_zero)
    np.testing.assert_array_equal(run_onnxruntime(model, feeds)[0], wanted)


@pytest.mark.parametrize("types", KINDS)
def test_only_uint8_by_int8_is_changed(types: tuple[str, str]) -> None:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), (4, 4))
        for name, kind in zip("ab", types, strict=True)
    ]
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name="y")])
    )
    changed = exact_products(model) != model
    assert changed == (types == ("uint8", "int8"))
