"""Files of onnxruntime's quantizers and optimizer: the same answers as onnxruntime gives.

Codes are equal where onnxruntime computes what the operator says; the exceptions, each within one
code, are where it rounds on the way: QLinearAdd and QLinearAveragePool multiply by a ratio of
scales in float32, which moves ties; QLinearSoftmax cuts off instead of rounding when its scale is
not 1/256; and its optimizer makes such nodes of conversions, so that its own answers to one QDQ
file differ by a code. Floats are within one step of the output's scale.
"""

import copy
import itertools
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from q8tool import Session
from tests.build import Array, optimized, run_onnxruntime
from tests.engine.foreign_models import MODELS, dynamic, static

pytestmark = pytest.mark.usefixtures("quiet_quantizers")

SWITCHES = [(False, False), (True, False), (False, True), (True, True)]


def ours(model: onnx.ModelProto, feeds: Mapping[str, Array], *, strict: bool = True) -> list[Array]:
    """Results; strict: all of it must run in C."""
    return list(Session(model, threads=1, strict=strict).run(feeds).values())


def product_types(model: onnx.ModelProto) -> set[str]:
    """What the steps of convolutions and products work in."""
    steps = Session(model, threads=1).explain()
    return {s.dtype for s in steps if s.op.endswith(("Conv", "Gemm", "MatMul"))}


def scale_of(model: onnx.ModelProto, name: str) -> float:
    (found,) = (item for item in model.graph.initializer if item.name == name)
    return float(numpy_helper.to_array(found).item())


def with_codes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every tensor of codes that a node computes as an output."""
    model = copy.deepcopy(model)
    for node in list(model.graph.node):
        if node.op_type.startswith(("QLinear", "QGemm", "QuantizeLinear")):
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    return model


@pytest.mark.parametrize("types", ["U8U8", "U8S8", "S8S8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("name", MODELS)
def test_static(name: str, form: str, types: str) -> None:
    model, feeds = MODELS[name]()
    for (per_channel, reduce_range), symmetric in itertools.product(SWITCHES, (False, True)):
        options = {"ActivationSymmetric": symmetric, "WeightSymmetric": symmetric}
        written = static(
            model, feeds, form, types,
            per_channel=per_channel, reduce_range=reduce_range, extra_options=options,
        )  # fmt: skip
        assert product_types(written) == {"u8"}
        step = scale_of(written, "y_scale") * 1.001
        expected = run_onnxruntime(written, feeds)[0]
        np.testing.assert_allclose(ours(written, feeds)[0], expected, rtol=0, atol=step)
        if form == "QOperator":
            shown = with_codes(written)
            for result, wanted in zip(
                ours(shown, feeds)[1:], run_onnxruntime(shown, feeds)[1:], strict=True
            ):
                np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("types", ["U16S8", "S16S8", "U16U16"])
@pytest.mark.parametrize("opset", [14, 21])
@pytest.mark.parametrize("name", MODELS)
def test_sixteen_bits(name: str, opset: int, types: str) -> None:
    """Before opset 21 in onnxruntime's domain, then in the standard's."""
    model, feeds = MODELS[name](opset)
    for per_channel, symmetric in SWITCHES:
        options = {"ActivationSymmetric": symmetric}
        written = static(model, feeds, "QDQ", types, per_channel=per_channel, extra_options=options)
        step = scale_of(written, "y_scale") * 2.001
        expected = run_onnxruntime(written, feeds)[0]
        np.testing.assert_allclose(ours(written, feeds)[0], expected, rtol=0, atol=step)


@pytest.mark.parametrize("types", ["U8S4", "U8U4"])
@pytest.mark.parametrize("opset", [14, 21])
@pytest.mark.parametrize("name", MODELS)
def test_weights_of_four_bits(name: str, opset: int, types: str) -> None:
    """In kernels of eight bits, as they are codes of eight bits, too."""
    model, feeds = MODELS[name](opset)
    for per_channel in (False, True):
        written = static(model, feeds, "QDQ", types, per_channel=per_channel)
        assert product_types(written) == {"u8"}
        step = scale_of(written, "y_scale") * 1.001
        expected = run_onnxruntime(written, feeds)[0]
        np.testing.assert_allclose(ours(written, feeds)[0], expected, rtol=0, atol=step)


@pytest.mark.parametrize("types", ["U8U8", "U8S8"])
@pytest.mark.parametrize("name", MODELS)
def test_dynamic(name: str, types: str) -> None:
    """ConvInteger and MatMulInteger; optimized, DynamicQuantizeMatMul and MatMulIntegerToFloat."""
    model, feeds = MODELS[name]()
    for (per_channel, reduce_range), constant in itertools.product(SWITCHES, (False, True)):
        written = dynamic(
            model, types, per_channel=per_channel, reduce_range=reduce_range,
            extra_options={"MatMulConstBOnly": constant},
        )  # fmt: skip
        short = optimized(written)
        for form in (written, short):
            expected = run_onnxruntime(form, feeds)[0]
            step = (expected.max() - expected.min()) / 255
            np.testing.assert_allclose(ours(form, feeds)[0], expected, rtol=0, atol=step / 10)


@pytest.mark.parametrize("form", ["float", "QDQ U8S8", "QDQ S8S8", "QDQ U16S8", "QOperator U8U8"])
@pytest.mark.parametrize("name", MODELS)
def test_optimized(name: str, form: str) -> None:
    """Fused operators of onnxruntime's own domain."""
    model, feeds = MODELS[name]()
    codes = form != "float"
    if codes:
        model = static(model, feeds, *form.split())
    short = optimized(model)
    expected = run_onnxruntime(short, feeds)[0]
    step = 2.001 * scale_of(model, "y_scale") if codes else 1e-5
    if any(node.op_type == "MatMulNBits" for node in short.graph.node):
        # Of accuracy level 4: onnxruntime brings the other operand to eight bits at run time.
        step = 2 * (expected.max() - expected.min()) / 255
    np.testing.assert_allclose(ours(short, feeds)[0], expected, rtol=0, atol=step)
