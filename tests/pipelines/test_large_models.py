"""Models that do not fit: quantize has their largest weight in memory, not all of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from q8tool.pipelines import quantize
from q8tool.pipelines.quantize import Options
from tests.graphs import random

SIDE, LAYERS = 1500, 10
WEIGHT = SIDE * SIDE * 4

# Prints by how much the peak grew over that of a tiny model.
MEASURE = """
import resource, sys
from pathlib import Path
from q8tool.engine import parts
from q8tool.model import graph, io
from q8tool.pipelines import answers, quantize
answers.LARGE, io.STREAMED_FROM, graph.SPILLED_FROM = 1 << 20, 1 << 20, 1 << 20
parts.run_in_parts.__defaults__ = (None, 20_000_000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, large, out = map(Path, sys.argv[1:])
quantize.run(quantize.Options(small, out, force=True, threads=1))
before = peak()
quantize.run(quantize.Options(large, out, force=True, threads=1))
print(peak() - before)
"""


def chain(path: Path, layers: int, side: int) -> Path:
    """layers MatMuls of side x side with Relu between, weights in a file beside the model."""
    nodes, tensors = [], []
    with path.with_name(f"{path.name}.data").open("wb") as file:
        for index in range(layers):
            weights = random(side, side, seed=index) / np.float32(np.sqrt(side))
            tensor = TensorProto(
                name=f"w{index}", data_type=TensorProto.FLOAT, dims=[side, side],
                data_location=TensorProto.EXTERNAL,
            )  # fmt: skip
            for key, value in (
                ("location", f"{path.name}.data"), ("offset", file.tell()),
                ("length", weights.nbytes),
            ):  # fmt: skip
                tensor.external_data.add(key=key, value=str(value))
            file.write(weights.tobytes())
            tensors.append(tensor)
            source = f"r{index - 1}" if index else "x"
            result = f"r{index}" if index + 1 < layers else "y"
            nodes.append(helper.make_node("MatMul", [source, f"w{index}"], [f"m{index}"]))
            nodes.append(helper.make_node("Relu", [f"m{index}"], [result]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", side]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "chain", ports[:1], ports[1:], tensors)
    opset = helper.make_opsetid("", 13)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    )
    return path


def test_memory_is_that_of_the_largest_weight(tmp_path: Path) -> None:
    small, large = chain(tmp_path / "s.onnx", 2, 64), chain(tmp_path / "l.onnx", LAYERS, SIDE)
    command = [sys.executable, "-c", MEASURE, *map(str, (small, large, tmp_path / "q.onnx"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    # Not twelve weights and their codes, but one weight and what quantizing it takes.
    assert int(done.stdout) < 0.6 * LAYERS * WEIGHT
    onnx.checker.check_model(str(tmp_path / "q.onnx"), full_check=True)


def test_parts_give_the_same_file_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = chain(tmp_path / "m.onnx", 3, 64), tmp_path / "q.onnx"
    with monkeypatch.context() as patch:
        patch.setattr("q8tool.pipelines.answers.LARGE", 10_000)
        in_parts = quantize.run(Options(path, out))
    assert in_parts.comparison.sqnr_db is not None
    assert in_parts.comparison.sqnr_db > 25
    assert in_parts.timing.float_ms > 0
    whole = quantize.run(Options(path, tmp_path / "whole.onnx"))
    assert whole.comparison.sqnr_db == pytest.approx(in_parts.comparison.sqnr_db, abs=0.01)
    assert out.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
