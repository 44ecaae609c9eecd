"""Kept plans give the same bytes as fresh ones, and damage, change and company never show."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from q8tool import Session
from q8tool.engine import plan_cache
from q8tool.engine.plan_store import read_described, write_described
from q8tool.errors import InputError
from q8tool.model.open_file import OpenFile
from tests.build import Case, float_model, node, quantized_model
from tests.engine.cases import CODE_CASES, FLOAT_CASES

CODE = """
import json, sys
import numpy as np
from q8tool import Session
session = Session(sys.argv[1], threads=1)
shape = [d if isinstance(d, int) else 2 for d in session.inputs[0].shape]
x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
(y,) = session.run({session.inputs[0].name: x}).values()
compiler = "q8tool.engine.compilation" in sys.modules
print(json.dumps({"compiler": compiler, "bytes": y.tobytes().hex()}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("Q8_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plans"


def convolution(batch: int | str = 2) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "y")]
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    model = quantized_model(Case("conv", nodes, {"x": x}, {"w": weights}, {"w": 0}), "uint8",
                            float_output=True)  # fmt: skip
    if isinstance(batch, str):
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = batch
        del model.graph.value_info[:]
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def answer(path: Path) -> np.ndarray:
    session = Session(path, threads=1)
    shape = [d if isinstance(d, int) else 2 for d in session.inputs[0].shape or ()]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (y,) = session.run({session.inputs[0].name: x}).values()
    return np.asarray(y)


def in_new_process(path: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)], check=True, capture_output=True, text=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("batch", [2, "N"])
def test_the_next_process_does_not_load_the_compiler(
    folder: Path, tmp_path: Path, batch: int | str
) -> None:
    path = saved(convolution(batch), tmp_path / "m.onnx")
    first, second = in_new_process(path), in_new_process(path)
    assert first["compiler"]
    assert not second["compiler"]
    assert first["bytes"] == second["bytes"]


MODELS = [(case, float_model) for case in FLOAT_CASES]
MODELS += [(case, lambda case: quantized_model(case, "uint8")) for case in CODE_CASES]


@pytest.mark.parametrize(("case", "make"), MODELS, ids=[case.name for case, _ in MODELS])
def test_every_kind_of_step_is_kept_and_gives_the_same_bytes(
    case: Case, make: Callable[[Case], onnx.ModelProto], folder: Path, tmp_path: Path
) -> None:
    model = make(case)
    path = saved(model, tmp_path / "m.onnx")
    fresh = Session(model, threads=1)
    Session(path, threads=1)
    assert len(list(folder.iterdir())) == 1 + bool(fresh.explain())  # what it is, and its plan
    kept = Session(path, threads=1)
    assert kept.explain() == fresh.explain()
    expected = fresh.run(case.inputs)
    for name, array in kept.run(case.inputs).items():
        assert array.tobytes() == expected[name].tobytes()
        assert array.shape == expected[name].shape


def test_damaged_files_count_as_absent(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "m.onnx")
    expected = answer(path).tobytes()
    rng = np.random.default_rng(3)
    for _ in range(30):
        for file in folder.iterdir():
            data = bytearray(file.read_bytes())
            position = int(rng.integers(len(data)))
            data[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(data if rng.integers(3) else data[:position])
        assert answer(path).tobytes() == expected


def test_whole_files_that_are_not_ours_count_as_absent(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "m.onnx")
    expected = answer(path).tobytes()
    strangers: list[Any] = [[], {}, 3, {"inputs": [[1]]}, {"calls": [["step", "close", {}], ["x"]]}]
    for described in strangers:
        for file in folder.iterdir():
            with file.open("w+b") as content:
                write_described(content, described)
        assert answer(path).tobytes() == expected
    for file in folder.iterdir():
        data = bytes(64) + b"\xcb{" + (10).to_bytes(8, "little")
        data = file.read_bytes()[:64] + data[64:]
        file.write_bytes(data + hashlib.sha256(data).digest())
    assert answer(path).tobytes() == expected


def rewritten(kept: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A whole file whose description somebody changed: arrays, JSON, its length, a digest."""
    end = len(kept) - 40
    begin = end - int.from_bytes(kept[end : end + 8], "little")
    described = json.loads(kept[begin:end])
    change(described)
    text = json.dumps(described).encode()
    data = kept[:begin] + text + len(text).to_bytes(8, "little")
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize("key", ["results", "inputs"])
def test_a_plan_of_other_values_counts_as_absent(key: str, folder: Path, tmp_path: Path) -> None:
    def renamed(described: dict[str, Any]) -> None:
        described[key] = {f"{name}2": value for name, value in described[key].items()}

    def unfilled(described: dict[str, Any]) -> None:
        for value in described[key].values():
            value[0] = 99  # a storage that nobody else names

    path = saved(convolution(), tmp_path / "m.onnx")
    expected = answer(path).tobytes()
    plan = max(folder.iterdir(), key=lambda kept: kept.stat().st_size)
    for change in (renamed, unfilled):
        plan.write_bytes(rewritten(plan.read_bytes(), change))
        assert answer(path).tobytes() == expected


def _first_bound(described: dict[str, Any]) -> list[Any]:
    """The call that made the first tensor that lies outside the arena."""
    found: list[Any] = next(c for c in described["calls"] if c[0] == "tensor" and c[3] is None)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda described: _first_bound(described)[2].append(7),
        lambda described: _first_bound(described).__setitem__(1, "uint8"),
        lambda described: _first_bound(described).__setitem__(1, "float32,("),
        lambda described: described["bound"][0][3].append(7),
        lambda described: described["written"][0][3].append(7),
        lambda described: next(iter(described["inputs"].values()))[3].append(7),
        lambda described: next(iter(described["results"].values()))[3].append(7),
        lambda described: described["bound"].append(described["bound"][0]),
    ],
    ids=[
        "declared shape",
        "declared type",
        "no type",
        "bound",
        "written",
        "inputs",
        "results",
        "one more",
    ],
)
def test_a_plan_of_other_sizes_counts_as_absent(
    change: Callable[[dict[str, Any]], None], folder: Path, tmp_path: Path
) -> None:
    path = saved(convolution(), tmp_path / "m.onnx")
    expected = answer(path)
    plan = max(folder.iterdir(), key=lambda kept: kept.stat().st_size)
    plan.write_bytes(rewritten(plan.read_bytes(), change))
    got = answer(path)
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()


def test_a_summary_of_another_model_is_said_to_be_one(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "conv.onnx")
    Session(path, threads=1)
    summary, plan = sorted(folder.iterdir(), key=lambda kept: kept.stat().st_size)
    plan.unlink()
    described = read_described(OpenFile(summary))
    assert described is not None
    described["outputs"][0][0] = "another"
    with summary.open("w+b") as file:
        write_described(file, described)
    with pytest.raises(InputError, match="of another model"):
        Session(path, threads=1)


def test_a_changed_model_is_compiled_anew(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "m.onnx")
    before = answer(path)
    changed = convolution()
    weights = next(t for t in changed.graph.initializer if t.data_type == onnx.TensorProto.INT8)
    codes = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(-codes, weights.name))
    saved(changed, path)
    assert answer(path).tobytes() != before.tobytes()
    saved(convolution(), path)
    assert answer(path).tobytes() == before.tobytes()


def test_a_file_that_changes_while_it_is_open_is_refused(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution("N"), tmp_path / "m.onnx")
    answer(path)
    session = Session(path)
    saved(convolution(), path)
    with pytest.raises(InputError, match="changed since it was opened"):
        session.run({"x": np.zeros((5, 3, 8, 8), np.float32)})


def test_many_writers_at_once(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "m.onnx")
    processes = [
        subprocess.Popen([sys.executable, "-c", CODE, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {json.loads(process.communicate()[0])["bytes"] for process in processes}
    assert len(answers) == 1
    assert not [file for file in folder.iterdir() if file.suffix == ".tmp"]


def test_a_full_disk_keeps_nothing(folder: Path, tmp_path: Path) -> None:
    path = saved(convolution(2), tmp_path / "m.onnx")
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600));" + CODE
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not any(file.stat().st_size > 600 for file in folder.iterdir())
    assert not list(folder.glob("*.tmp"))
    assert json.loads(done.stdout)["bytes"] == in_new_process(path)["bytes"]


def test_off_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    answer(saved(convolution(), tmp_path / "m.onnx"))
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_made_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("Q8_CACHE", str(tmp_path / "file"))
    path = saved(convolution(), tmp_path / "m.onnx")
    assert answer(path).tobytes() == answer(path).tobytes()


def test_weights_in_other_files_are_not_kept(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        float_model(_large_product()), path, save_as_external_data=True, location="m.data",
        size_threshold=0,
    )  # fmt: skip
    before = answer(path)
    data = np.fromfile(tmp_path / "m.data", np.float32)
    (data * 2).tofile(tmp_path / "m.data")
    np.testing.assert_allclose(answer(path), before * 2, rtol=1e-6)


def _large_product() -> Case:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 64)).astype(np.float32)
    weights = rng.standard_normal((64, 64)).astype(np.float32)
    return Case("product", [node("MatMul", "x w", "y")], {"x": x}, {"w": weights})


def test_the_longest_unused_go_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(saved(convolution(), tmp_path / "a.onnx"))
    old = set(folder.iterdir())
    for file in old:
        os.utime(file, (1, 1))
    size = sum(file.stat().st_size for file in old)
    monkeypatch.setattr(plan_cache, "_LARGEST_FOLDER", size + size // 2)
    answer(saved(float_model(_large_product()), tmp_path / "b.onnx"))
    assert not max(old, key=lambda file: file.stat().st_size if file.exists() else 0).exists()


def test_plans_of_large_models_are_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(convolution(), tmp_path / "a.onnx")
    monkeypatch.setattr(plan_cache, "_LARGEST_MODEL", path.stat().st_size - 1)
    Session(path, threads=1).explain()
    assert not folder.exists()
