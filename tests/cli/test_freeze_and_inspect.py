"""q8tool freeze and q8tool inspect as typed, 2016's flags included."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from q8tool.cli import main
from q8tool.model import io, metadata
from tests.graphs import f32, i8, model, random, u8

TEXT = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) {
    c = Conv(x, w)  n = BatchNormalization(c, s, b, m, v)  y = Relu(n) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = model(
        TEXT, w=random(4, 3, 3, 3), s=random(4), b=random(4), m=random(4), v=random(4, low=0.5)
    )
    io.save(graph, tmp_path / "m.onnx", force=False)
    return tmp_path / "m.onnx"


def frozen(path: Path, *words: str | Path) -> Path:
    out = path.with_name("out.onnx")
    assert main(["freeze", "--input", str(path), "--output", str(out), *map(str, words)]) == 0
    return out


def test_the_report_says_what_changed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = frozen(path)
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert "BatchNormalization 1 0" in lines
    assert "nodes 3 -> 2" in lines
    assert f"written {out}" in lines
    assert any(line.startswith("same answers yes, ") for line in lines)


def test_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen(path, "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["operators"]["after"] == {"Conv": 1, "Relu": 1}


def test_flags_of_2016(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = path.with_name("out.onnx")
    np.savez(path.with_name("c.npz"), **dict[str, Any](w=random(4, 3, 3, 3, seed=5), lr=f32(1)))
    assert main([
        "freeze", f"--input_graph={path}", f"--input_checkpoint={path.with_name('c.npz')}",
        f"--output_graph={out}", "--output_node_names=n,c",
    ]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert "only in the checkpoint: lr" in text
    assert "only in the model: s" in text
    assert [value.name for value in io.load(out).graph.outputs] == ["n", "c"]


def test_repeatable_flags(path: Path) -> None:
    np.savez(path.with_name("c.npz"), **dict[str, Any](w=random(4, 3, 3, 3), s=random(4)))
    out = frozen(
        path, "--checkpoint", path.with_name("c.npz"), "--only", "w", "--only", "s", "--keep", "s",
        "--dim", "N=2",
    )  # fmt: skip
    assert str(io.load(out).graph.inputs[0].shape) == "[2,3,8,8]"


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    graph = model(
        """g (float[1,2] x) => (float[1,2] y) {
            q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
            w = DequantizeLinear<axis=1>(codes, ws)  y = MatMul(d, w) }""",
        s=f32(0.5), z=u8(64), codes=i8([[127, 0], [-127, 2]]), ws=f32([0.5, 2]),
    )  # fmt: skip
    metadata.set_labels(graph, ["a", "b", "c", "d"])
    metadata.set_preprocess(graph, {"size": [2, 1]})
    metadata.set_note(graph, "version", "0.1")
    io.save(graph, tmp_path / "q.onnx", force=False)
    return tmp_path / "q.onnx"


def lines_of(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    assert main(["inspect", *map(str, words)]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_inspect(quantized: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, quantized)
    assert "input x float 1 x 2" in lines
    assert "labels 4: a, b, c, ..." in lines
    assert "preprocess size [2, 1]" in lines
    assert "q8tool.version 0.1" in lines
    assert "DequantizeLinear 2" in lines
    assert "int8 1 4 4 bytes" in lines
    assert "x uint8 -32 95.5 0.5 64" in lines
    assert "codes int8 -63.5 63.5 0.5..2 0" in lines


def test_inspect_a_tensor(quantized: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, quantized, "--tensor", "codes")
    assert "stored int8 2 x 2" in lines
    assert "0 127 63.5" in lines
    assert "3 2 4" in lines
    lines = lines_of(capsys, quantized, "--tensor", "x")
    assert "2 64 0" in lines
    assert json.loads("".join(lines_of(capsys, quantized, "--tensor", "codes", "--json")))["codes"]


def test_inspect_many_values(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path), "--tensor", "w"]) == 0
    captured = capsys.readouterr()
    assert "44 more numbers" in captured.err
    assert main(["inspect", str(path), "--tensor", "w", "--json"]) == 0
    assert np.size(json.loads(capsys.readouterr().out)["reals"]) == 108


def test_inspect_shapes_that_are_not_known(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "input x float N x 3 x 8 x 8" in lines_of(capsys, path)
