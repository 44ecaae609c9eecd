"""onnxruntime's fused and run-time quantized operators, one node at a time."""

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
from tests.graphs import Array, f32, i8, i32, random, u8

X = random(2, 5, 8)


def model_of(
    op: str, inputs: dict[str, Array], weights: dict[str, Array], order: str, opset: int,
    outputs: int = 1, kind: int = 1, rank: int | None = 3, counts: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """One node; "-" in the order is an input left out. counts: its second output is int32."""
    names = ["" if name == "-" else name for name in order.split()]
    results = ["y", "count"] if counts else ["y", "", "", "sum"][:outputs]
    node = helper.make_node(op, names, results, name="n", domain=DOMAIN, **attributes)
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    shape = None if rank is None else [None] * rank
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in results if name]
    if counts:
        ends[1] = helper.make_tensor_value_info("count", onnx.TensorProto.INT32, [None])
    constants = [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()]
    graph = helper.make_graph([node], "g", values, ends, constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


NORM = {"gamma": random(8), "beta": random(8, seed=1), "bias": random(8, seed=2)}
PRODUCT = {"w": random(8, 6), "c": random(6)}
WORDS = i32([[1, 4, 7, 2, 9], [3, 3, 0, 9, 5]])
EMBEDDING = {
    "words": random(12, 8), "places": random(6, 8, seed=3), "kinds": random(2, 8, seed=4),
}  # fmt: skip
CODED = {"s": f32(0.1), "z": u8(30)}
CASES: dict[str, tuple[Any, ...]] = {
    "Gelu": ("Gelu", {"x": X}, {}, "x"),
    "BiasGelu": ("BiasGelu", {"x": X}, NORM, "x bias"),
    "FastGelu": ("FastGelu", {"x": X}, NORM, "x bias"),
    "FastGelu alone": ("FastGelu", {"x": X}, {}, "x"),
    "QuickGelu": ("QuickGelu", {"x": X}, {}, "x", {"alpha": 1.5}),
    "SkipLayerNormalization": (
        "SkipLayerNormalization", {"x": X, "z": random(2, 5, 8, seed=3)}, NORM,
        "x z gamma beta bias", {"outputs": 4, "epsilon": 1e-5},
    ),
    "SkipLayerNormalization of two": (
        "SkipLayerNormalization", {"x": X, "z": random(2, 5, 8, seed=3)}, NORM, "x z gamma",
    ),
    "FusedMatMul": (
        "FusedMatMul", {"x": X, "z": random(2, 6, 8)}, {}, "x z", {"transB": 1, "alpha": 0.3},
    ),
    "FusedGemm": (
        "FusedGemm", {"x": X[0]}, PRODUCT, "x w c",
        {"activation": "LeakyRelu", "activation_alpha": 0.3, "rank": 2},
    ),
    "FusedConv": (
        "FusedConv", {"x": random(1, 3, 6, 6), "z": random(1, 4, 4, 4)},
        {"w": random(4, 3, 3, 3), "c": random(4)}, "x w c z", {"activation": "Relu", "rank": 4},
    ),
    "FusedConv and Clip": (
        "FusedConv", {"x": random(1, 3, 6, 6)}, {"w": random(4, 3, 3, 3)}, "x w",
        {"activation": "Clip", "activation_params": [0.0, 1.5], "rank": 4},
    ),
    "Attention": (
        "Attention", {"x": X}, {"w": random(8, 24), "c": random(24)}, "x w c", {"num_heads": 2},
    ),
    "Attention with a mask": (
        "Attention", {"x": X, "m": i32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])},
        {"w": random(8, 24), "c": random(24)}, "x w c m", {"num_heads": 4},
    ),
    "Attention of the past": (
        "Attention", {"x": X}, {"w": random(8, 24), "c": random(24)}, "x w c",
        {"num_heads": 2, "unidirectional": 1},
    ),
    "Attention of so many": (
        "Attention", {"x": X, "m": i32([3, 5])}, {"w": random(8, 24), "c": random(24)}, "x w c m",
        {"num_heads": 2, "unidirectional": 1},
    ),
    "EmbedLayerNormalization": (
        "EmbedLayerNormalization", {"x": WORDS, "t": WORDS % 2, "m": WORDS // 6},
        {**EMBEDDING, **NORM}, "x t words places kinds gamma beta m", {"counts": True},
    ),
    "EmbedLayerNormalization of two": (
        "EmbedLayerNormalization", {"x": WORDS}, {**EMBEDDING, **NORM},
        "x - words places - gamma beta", {"counts": True},
    ),
    "QuantizeLinear": ("QuantizeLinear", {"x": X}, CODED, "x s z", {"kind": 2}),
    "QuantizeLinear of 16 bits": (
        "QuantizeLinear", {"x": X * 9000}, {**CODED, "z": np.uint16(9000)}, "x s z", {"kind": 4},
    ),
    "DequantizeLinear": (
        "DequantizeLinear", {"x": (X * 40).astype(np.int8)}, {**CODED, "z": i8(-3)}, "x s z",
    ),
    "DequantizeLinear of 16 bits": (
        "DequantizeLinear", {"x": (X * 9000).astype(np.int16)}, {**CODED, "z": np.int16(-300)},
        "x s z",
    ),
    "MatMulIntegerToFloat": (
        "MatMulIntegerToFloat", {"x": (X * 40 + 128).astype(np.uint8)},
        {**CODED, "w": (random(8, 6) * 40).astype(np.int8), "ws": f32([0.1] * 3 + [0.2] * 3),
         "wz": i8([0] * 6), "c": random(6)},
        "x w s ws z wz c",
    ),
    "DynamicQuantizeMatMul": (
        "DynamicQuantizeMatMul", {"x": X},
        {"w": (random(8, 6) * 40).astype(np.int8), "ws": f32(0.1), "c": random(6)}, "x w ws - c",
    ),
}  # fmt: skip


@pytest.mark.parametrize("opset", [12, 13, 17, 21])
@pytest.mark.parametrize("name", CASES)
def test_same_answers(name: str, opset: int) -> None:
    op, feeds, weights, order, *options = CASES[name]
    used = {key: array for key, array in weights.items() if key in order.split()}
    model = model_of(op, feeds, used, order, opset, **(options[0] if options else {}))
    expected = run_onnxruntime(model, feeds)
    standard = ir.from_proto(model)
    assert len(standardize_operators(standard)) == 1
    assert not has_foreign_operators(standard)
    check(standard, "model")
    for form in (model, standard):
        results = list(Session(form).run(feeds).values())
        for result, wanted in zip(results, expected, strict=True):
            assert result.dtype == wanted.dtype
            if wanted.dtype.kind in "iu":
                np.testing.assert_array_equal(result, wanted)
            else:
                np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=2e-5)


def test_recurrent_weights() -> None:
    """onnxruntime brings the inputs to eight bits, too, which costs a step or so."""
    generator = np.random.default_rng(4)
    hidden = 6
    weights = {
        name: generator.integers(-127, 128, (2, size, 4 * hidden), dtype=np.int8)
        for name, size in (("w", 8), ("r", hidden))
    }
    scales = {"ws": f32([0.004, 0.005]), "rs": f32([0.003, 0.004]), "zero": i8([0, 0])}
    model = model_of(
        "DynamicQuantizeLSTM", {"x": X}, {**weights, **scales},
        "x w r - - - - - ws zero rs zero", 13, rank=4, hidden_size=hidden,
        direction="bidirectional",
    )  # fmt: skip
    (expected,) = run_onnxruntime(model, {"x": X})
    result = Session(model).run({"x": X})["y"]
    np.testing.assert_allclose(result, expected, atol=0.02)


@pytest.mark.parametrize(
    ("op", "weights", "order", "attributes"),
    [
        ("Attention", {"w": random(8, 24), "c": random(24)}, "x w c",
         {"num_heads": 2, "do_rotary": 1}),
        ("FusedGemm", PRODUCT, "x w c", {"activation": "Nobody"}),
        ("MatMulNBits", {"w": random(8, 6), "s": random(3)}, "x w s",
         {"N": 6, "K": 9, "bits": 4, "block_size": 16}),
    ],
)  # fmt: skip
def test_what_nobody_knows_stays(
    op: str, weights: dict[str, Array], order: str, attributes: dict[str, Any]
) -> None:
    model = ir.from_proto(model_of(op, {"x": X}, weights, order, 13, **attributes))
    before = len(model.graph.initializers)
    assert standardize_operators(model) == []
    assert [node.op_type for node in model.graph] == [op]
    assert len(model.graph.initializers) == before
