"""Weights whose arithmetic stays float are stored in eight bits: LSTM, GRU, If and Loop."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from q8tool import Session
from q8tool.errors import UsageError
from q8tool.model import io
from q8tool.model.graph import op_counts
from q8tool.pipelines import quantize
from q8tool.pipelines.quantize import Options
from tests.graphs import Array, f32, i64, model, random, run
from tests.pipelines.classifiers import saved

LSTM = "g (float[5,1,32] x) => (float[5,1,1,64] y) { y = LSTM<hidden_size=64>(x, w, r, b) }"
GRU = """g (float[5,1,32] x) => (float[5,2,1,64] y) {
    y = GRU<hidden_size=64, direction="bidirectional">(x, w, r) }"""
IF = """g (float[2,64] x) => (float[2,64] y) {
    s = ReduceSum<keepdims=0>(x) c = Greater(s, z)
    y = If (c) <then_branch = t () => (float[2,64] u) { u = MatMul(x, w) },
                else_branch = f () => (float[2,64] v) { v = MatMul(x, w) }> }"""
LOOP = """g (float[2,64] x) => (float[2,64] y) {
    y = Loop (n, t, x) <body = b (int64 i, bool c, float[2,64] before)
                             => (bool d, float[2,64] after) {
        d = Identity(c) m = MatMul(before, w) after = Tanh(m) }> }"""


def small(*shape: int) -> Array:
    """Weights as trained ones are: gates that are not saturated."""
    return random(*shape) * f32(0.1)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": (LSTM, {"w": small(1, 256, 32), "r": small(1, 256, 64), "b": small(1, 512)}),
    "gru": (GRU, {"w": small(2, 192, 32), "r": small(2, 192, 64)}),
    "if": (IF, {"z": f32(0), "w": random(64, 64)}),
    "loop": (LOOP, {"n": i64(3), "t": np.array(True), "w": random(64, 64) * f32(0.1)}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["eightbit", "weights"])
def test_a_quarter_of_the_size_and_nearly_the_same_answers(
    tmp_path: Path, name: str, mode: Any
) -> None:
    text, weights = CASES[name]
    path = saved(model(text, 16, **weights), tmp_path / "m.onnx")
    report = quantize.run(Options(path, tmp_path / "q.onnx", mode=mode, allow_slower=True))
    onnx.checker.check_model(str(tmp_path / "q.onnx"), full_check=True)
    assert report.sizes[1] < 0.4 * report.sizes[0]
    assert "DequantizeLinear" in op_counts(io.load(tmp_path / "q.onnx"))
    shape = [5, 1, 32] if name in ("lstm", "gru") else [2, 64]
    x = random(*shape)
    wanted, got = run(path, x=x)[0], run(tmp_path / "q.onnx", x=x)[0]
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
    ours = Session(tmp_path / "q.onnx").run({"x": x})["y"]
    np.testing.assert_allclose(ours, got, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "pattern"), [("lstm", "op:LSTM"), ("if", "op:If")])
def test_what_is_excluded_stays_float(tmp_path: Path, name: str, pattern: str) -> None:
    text, weights = CASES[name]
    path = saved(model(text, 16, **weights), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="nothing to quantize"):
        quantize.run(Options(path, tmp_path / "q.onnx", excluded=[pattern]))
