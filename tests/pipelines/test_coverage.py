"""Every operator that quantize covers, end to end: eight-bit where it says so, right, and in C.

With data and without: the file runs in onnxruntime and in our engine with the same answers, those
are close to the float model's, nothing is left for strip-conversions, and no operator of the case
reads or writes floats that could be codes.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool import Session
from q8tool.model import io
from q8tool.passes.strip import strip
from q8tool.pipelines import quantize
from tests.graphs import Array, random, run
from tests.pipelines.coverage_cases import CASES, Case

_SAMPLES = 12
_CODES = (ir.DataType.UINT8, ir.DataType.INT8)


def samples_of(case: Case) -> list[Array]:
    if case.words:
        generator = np.random.default_rng(5)
        return [generator.integers(0, case.words, case.shape) for _ in range(_SAMPLES)]
    return [random(*case.shape, seed=seed) for seed in range(_SAMPLES)]


def float_file(case: Case, path: Path) -> Path:
    dtype = "int64" if case.words else "float"
    dims = ",".join(map(str, case.shape))
    head = f'<ir_version: 8, opset_import: ["": {case.opset}]>\n'
    graph = onnx.parser.parse_model(
        f"{head} g ({dtype}[{dims}] x) => (float[] y) {{ {case.body} }}"
    )
    for name, array in case.weights.items():
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    graph.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(graph)
    onnx.checker.check_model(inferred)
    onnx.save(inferred, path)
    return path


def quantized(case: Case, folder: Path, with_data: bool) -> tuple[Path, Path]:
    """The float file and the eight-bit one."""
    source, target = float_file(case, folder / "float.onnx"), folder / "eight.onnx"
    data = folder / "x.npz"
    np.savez(data, x=np.stack(samples_of(case)).reshape(stacked_shape(case)))
    quantize.run(
        quantize.Options(source, target, data=data if with_data else None, allow_slower=True)
    )
    return source, target


def stacked_shape(case: Case) -> tuple[int, ...]:
    """Samples one behind the other where the model takes one, else stacked."""
    return (_SAMPLES, *(case.shape[1:] if case.shape[0] == 1 else case.shape))


def decibels(wanted: Array, got: Array) -> float:
    noise = np.square(wanted.astype(np.float64) - got).sum()
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-30)))


def check_answers(case: Case, source: Path, target: Path) -> None:
    """Of our engine and onnxruntime, on a sample that was held back."""
    feeds = {"x": samples_of(case)[0]}
    wanted, other = run(source, **feeds)[0], run(target, **feeds)[0]
    ours = Session(target, strict=not case.host).run(feeds)["y"]
    assert decibels(wanted, ours) >= case.decibels
    # A fused step may differ from its parts by one code: an interpolation does where it is a tie.
    assert decibels(other, ours) >= decibels(wanted, ours) + 3


def is_eight_bit(node: ir.Node) -> bool:
    """True if what the node reads are codes, or codes' real values."""
    values = node.inputs if node.op_type in ("Add", "Concat", "MatMul") else node.inputs[:1]
    for value in values:
        producer = value.producer() if value is not None else None
        is_real = producer is not None and producer.op_type == "DequantizeLinear"
        if value is None or not (is_real or value.dtype in _CODES):
            return False
    return True


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_with_data(case: Case, tmp_path: Path) -> None:
    source, target = quantized(case, tmp_path, with_data=True)
    check_answers(case, source, target)
    found = io.load(target)
    for op in case.eight:
        nodes = [node for node in found.graph if node.op_type == op]
        assert nodes, f"no {op} is left"
        # Inside GELU and its kin only the first node reads codes.
        assert any(map(is_eight_bit, nodes)), op
    assert strip(found) == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_without_data(case: Case, tmp_path: Path) -> None:
    source, target = quantized(case, tmp_path, with_data=False)
    check_answers(case, source, target)
