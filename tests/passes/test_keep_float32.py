"""keep_float32: where a Clip goes, that it changes nothing, and that OpenVINO keeps float32."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.numerics.qparams import from_range
from q8tool.numerics.rounding import dequantize
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.keep_float32 import keep_float32
from q8tool.passes.known_ranges import known_ranges
from tests.graphs import model, ops, random, run

W = random(4, 4, 1, 1)


def eight_bit(body: str, result: str = "float[1,4,5,5] y") -> ir.Model:
    graph = model(f"m (float[1,4,5,5] x) => ({result}) {{ {body} }}", 13, w=W, b=random(4))
    ranges = known_ranges(graph, {"x": (-1.0, 1.0), "c": (-2.0, 2.0)})
    insert_conversions(graph, choose_precision(graph, ranges), ranges)
    return graph


@pytest.mark.parametrize(
    ("body", "result", "count"),
    [
        ("y = Conv(x, w, b)", "float[1,4,5,5] y", 1),
        ("c = Conv(x, w) y = Conv(c, w)", "float[1,4,5,5] y", 1),
        ("c = Conv(x, w, b) y = Softmax<axis=1>(c)", "float[1,4,5,5] y", 1),
        ("c = Conv(x, w, b) y = Exp(c) z = Neg(c)", "float[1,4,5,5] y, float[1,4,5,5] z", 1),
        ("c = Conv(x, w, b) y = Relu(c)", "float[1,4,5,5] y", 0),
        ("c = Conv(x, w, b) e = Exp(c) y = MatMul(e, e)", "float[1,4,5,5] y", 0),
    ],
)
def test_last_convolutions_get_a_clip(body: str, result: str, count: int) -> None:
    graph = eight_bit(body, result)
    before = run(graph.clone(), x=random(1, 4, 5, 5))
    clips = ops(graph).count("Clip")
    assert len(keep_float32(graph)) == count
    assert ops(graph).count("Clip") == clips + count
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    assert [value.name for value in graph.graph.outputs] == [
        one.split()[-1] for one in result.split(", ")
    ]
    for wanted, got in zip(before, run(graph, x=random(1, 4, 5, 5)), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert keep_float32(graph) == []


def test_float_convolutions_stay() -> None:
    graph = model("m (float[1,4,5,5] x) => (float[1,4,5,5] y) { y = Conv(x, w) }", 13, w=W)
    assert keep_float32(graph) == []


@pytest.mark.filterwarnings("ignore")
def test_openvino_computes_the_answer_in_float32(tmp_path: Path) -> None:
    """With bfloat16 asked for, which CPUs without it ignore."""
    openvino = pytest.importorskip("openvino")
    graph = eight_bit("c = Conv(x, w, b) y = Softmax<axis=1>(c)")
    keep_float32(graph)
    path = str(tmp_path / "m.onnx")
    onnx.save(ir.to_proto(graph), path)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    codes = np.arange(0, 200, 2, dtype=np.uint8).reshape(1, 4, 5, 5)
    x = dequantize(codes, from_range(-1.0, 1.0))
    np.testing.assert_allclose(compiled([x])[0], run(graph, x=x)[0], rtol=1e-5)
