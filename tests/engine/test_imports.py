"""Start-up time is imports: a session loads what its model needs, and no more."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from q8tool.engine.lowerings import _FAMILIES, LOWERINGS
from tests.build import Case, node, quantized_model
from tests.engine.test_plan_cache import convolution

CODE = """
import sys
from q8tool import Session
at_import = set(sys.modules)
Session(sys.argv[1]).explain()
print(*sorted(at_import))
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_table_names_the_operators_of_each_module(family: str) -> None:
    module = importlib.import_module(f"q8tool.engine.lower_{family}")
    listed = {name for (_, name) in LOWERINGS if LOWERINGS[_, name] in module.LOWERINGS.values()}
    assert listed == set(module.LOWERINGS)
    assert all(LOWERINGS["", name] is module.LOWERINGS[name] for name in _FAMILIES[family].split())


def test_a_session_imports_what_its_model_needs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(convolution(), path)
    environment = {**os.environ, "Q8_CACHE": "off"}
    command = [sys.executable, "-c", CODE, str(path)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    at_import, at_end = (set(line.split()) for line in answer.stdout.splitlines())
    standard = {"hashlib", "json", "logging", "random", "secrets", "shutil", "tempfile"}
    assert not standard & at_end
    assert not {"q8tool.engine.compilation", "q8tool.engine.plan_cache"} & at_import
    lowerings = {
        name.split("_", 1)[1] for name in at_end if name.startswith("q8tool.engine.lower_")
    }
    assert lowerings == {"conv", "quantize"}


def test_no_bias_asks_for_onnx(tmp_path: Path) -> None:
    """Importing it takes longer than compiling most models."""
    weights = np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1)
    x = np.ones((1, 2, 3, 3), np.float32)
    bias = np.asarray([1000, -7, 0, 3], np.int32)
    nodes = [
        node("DequantizeLinear", "b b_scale b_zero", "bias", axis=0),
        node("Conv", "x w bias", "y"),
    ]
    scales = {"b_scale": np.full(4, 0.01, np.float32), "b_zero": np.zeros(4, np.int32)}
    case = Case("bias", nodes, {"x": x}, {"w": weights, "b": bias, **scales}, {"w": 0})
    path = tmp_path / "model.onnx"
    onnx.save(quantized_model(case, "uint8"), path)
    environment = {**os.environ, "Q8_CACHE": "off"}
    command = [sys.executable, "-c", CODE, str(path)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "onnx" not in answer.stdout.split()
