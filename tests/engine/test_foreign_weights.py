"""Files of onnxruntime's other quantizers: weights of 2 to 8 bits in blocks, LSTM, attention.

Weights alone are codes here and the arithmetic is float, so that results are equal but for the
order of sums; where onnxruntime brings the other operand to eight bits at run time, within steps.
"""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
    RTNWeightOnlyQuantConfig,
)

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime
from tests.engine.foreign_models import MODELS, dynamic
from tests.graphs import i32, random

pytestmark = pytest.mark.usefixtures("quiet_quantizers")

Feeds = dict[str, Array]


def same(written: onnx.ModelProto, feeds: Mapping[str, Array], tolerance: float = 1e-5) -> None:
    """Both engines give the same first output, all of it in C here."""
    expected = run_onnxruntime(written, feeds)[0]
    result = next(iter(Session(written, threads=1, strict=True).run(feeds).values()))
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=tolerance * largest)


def product(opset: int = 17) -> tuple[onnx.ModelProto, Feeds]:
    """One product whose depth is no multiple of any block."""
    feeds = {"x": random(3, 150)}
    return model_of(
        [node("MatMul", "x w", "y")], feeds, {"w": random(150, 24)}, ["y"], opset
    ), feeds


def packed(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    quantizer = MatMulNBitsQuantizer(copy.deepcopy(model), **options)
    quantizer.process()
    written: onnx.ModelProto = quantizer.model.model
    assert {"MatMulNBits", "DequantizeLinear"} & {item.op_type for item in written.graph.node}
    return written


@pytest.mark.parametrize("block", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_blocks(bits: int, block: int) -> None:
    for symmetric, form in itertools.product((False, True), QuantFormat):
        if bits != 4 and form == QuantFormat.QDQ:
            continue  # which the quantizer does not write
        model, feeds = product(21 if form == QuantFormat.QDQ else 14)
        options = {"bits": bits, "block_size": block, "is_symmetric": symmetric}
        same(packed(model, quant_format=form, **options), feeds)
        if form == QuantFormat.QOperator:
            # onnxruntime brings the other operand to eight bits: half a step of 127 in each.
            same(packed(model, accuracy_level=4, **options), feeds, 1 / 64)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_in_models(name: str) -> None:
    for bits, symmetric, form in itertools.product((4, 8), (False, True), QuantFormat):
        if bits == 8 and form == QuantFormat.QDQ:
            continue
        model, feeds = MODELS[name](21 if form == QuantFormat.QDQ else 14)
        quantizer = MatMulNBitsQuantizer(
            copy.deepcopy(model), bits=bits, block_size=32, is_symmetric=symmetric,
            quant_format=form,
        )  # fmt: skip
        quantizer.process()
        same(quantizer.model.model, feeds)


def test_other_algorithms() -> None:
    model, feeds = product(21)
    whole = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, quant_format=QuantFormat.QDQ, channel_wised_quantize=True
    )
    for algorithm in (RTNWeightOnlyQuantConfig(), whole):
        same(packed(model, algo_config=algorithm), feeds)


@pytest.mark.parametrize("block", [16, 64, 256])
@pytest.mark.parametrize("kind", [MatMulBnb4Quantizer.FP4, MatMulBnb4Quantizer.NF4])
def test_floats_of_four_bits(kind: int, block: int) -> None:
    model, feeds = product()
    quantizer = MatMulBnb4Quantizer(copy.deepcopy(model), kind, block)
    quantizer.process()
    same(quantizer.model.model, feeds)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("symmetric", [False, True])
def test_embeddings(symmetric: bool, axis: int) -> None:
    nodes = [node("Gather", "table words", "rows"), node("MatMul", "rows w", "y")]
    weights = {"table": random(40, 48), "w": random(48, 8)}
    feeds = {"words": np.asarray([[1, 5, 39], [0, 7, 16]], np.int64)}
    model = model_of(nodes, feeds, weights, ["y"])
    for block in (16, 32):
        quantizer = MatMulNBitsQuantizer(
            copy.deepcopy(model), bits=4, block_size=block, is_symmetric=symmetric,
            op_types_to_quantize=("Gather", "MatMul"), quant_axes=(("MatMul", 0), ("Gather", axis)),
        )  # fmt: skip
        quantizer.process()
        assert quantizer.model.model.graph.node[0].op_type == "GatherBlockQuantized"
        same(quantizer.model.model, feeds)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("types", ["U8U8", "U8S8"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm(direction: str, types: str, per_channel: bool) -> None:
    """onnxruntime brings inputs and state to eight bits at every step; here they stay float."""
    count = 2 if direction == "bidirectional" else 1
    weights = {
        "w": random(count, 48, 16) * np.float32(0.3), "r": random(count, 48, 12) * np.float32(0.3),
        "b": random(count, 96) * np.float32(0.1),
    }  # fmt: skip
    feeds = {"x": random(7, 2, 16)}
    item = node("LSTM", "x w r b", "y", hidden_size=12, direction=direction)
    model = model_of([item], feeds, weights, ["y"])
    written = dynamic(model, types, per_channel=per_channel, op_types_to_quantize=["LSTM"])
    assert [item.op_type for item in written.graph.node] == ["DynamicQuantizeLSTM"]
    (expected,) = run_onnxruntime(written, feeds)
    (result,) = Session(written, threads=1).run(feeds).values()
    step = (expected.max() - expected.min()) / 255
    np.testing.assert_allclose(result, expected, rtol=0, atol=4 * step)


def fused(
    op: str, inputs: Mapping[str, Array], weights: Mapping[str, Array], order: str,
    outputs: str = "y", /, **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """One node of onnxruntime's own domain; "-" in the order is an input left out."""
    names = ["" if name == "-" else name for name in order.split()]
    item = helper.make_node(
        op, names, outputs.split(), None, None, "com.microsoft", None, **attributes
    )
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    end = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 3)
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([item], "g", values, [end], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("types", ["U8U8", "U8S8"])
@pytest.mark.parametrize("mask", ["-", "kept", "lengths"])
def test_attention(mask: str, types: str) -> None:
    masks = {"kept": i32([[1] * 4 + [0] * 2, [1] * 6]), "lengths": i32([4, 6])}
    feeds = {"x": random(2, 6, 16), **{n: a for n, a in masks.items() if n == mask}}
    weights = {"w": random(16, 48) / np.float32(4), "b": random(48)}
    for causal, per_channel in itertools.product((0, 1), (False, True)):
        model = fused(
            "Attention", feeds, weights, f"x w b {mask}", num_heads=2, unidirectional=causal
        )
        written = dynamic(model, types, per_channel=per_channel, op_types_to_quantize=["Attention"])
        assert written.graph.node[-1].op_type == "QAttention"
        same(written, feeds)


@pytest.mark.parametrize("kinds", [True, False])
def test_embeddings_with_layer_norm(kinds: bool) -> None:
    words = i32([[1, 4, 7, 2], [3, 3, 0, 9]])
    feeds = {"words": words, **({"kinds": words % 2} if kinds else {})}
    weights = {
        "w": random(12, 16), "p": random(8, 16), "k": random(2, 16), "g": random(16),
        "b": random(16, seed=2),
    }  # fmt: skip
    order = "words kinds w p k g b" if kinds else "words - w p - g b"
    used = {name: array for name, array in weights.items() if name in order.split()}
    model = fused("EmbedLayerNormalization", feeds, used, order, "y count", epsilon=1e-5)
    written = dynamic(model, "U8U8", op_types_to_quantize=["EmbedLayerNormalization"])
    assert written.graph.node[-1].op_type == "QEmbedLayerNormalization"
    same(written, feeds)
