"""Large weights: written one by one, spilled to disk, read when asked for; the bytes stay right."""

import io as bytes_io
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.model import io, spilled, streamed
from q8tool.model.external import UnmappedTensor
from q8tool.model.graph import make_initializer
from tests.graphs import Array, model, random, run

TEXT = "g (float[N,600] x) => (float[N,600] y) { a = MatMul(x, w) b = Add(a, c) y = MatMul(b, v) }"


def large_model() -> ir.Model:
    found = model(TEXT, w=random(600, 600), v=random(600, 600, seed=1), c=random(600))
    found.metadata_props["note"] = "kept"
    return found


def test_a_streamed_file_holds_the_same_model(tmp_path: Path) -> None:
    graph = large_model()
    with (tmp_path / "s.onnx").open("wb") as file:
        count = streamed.write_streamed(graph, file)
    assert count == (tmp_path / "s.onnx").stat().st_size
    onnx.checker.check_model(str(tmp_path / "s.onnx"), full_check=True)
    x = random(2, 600)
    np.testing.assert_array_equal(run(tmp_path / "s.onnx", x=x)[0], run(graph, x=x)[0])
    loaded = io.load(tmp_path / "s.onnx")
    assert loaded.metadata_props["note"] == "kept"
    assert sorted(loaded.graph.initializers) == ["c", "v", "w"]
    # The model that was written is as it was, and gives the same bytes again.
    again = bytes_io.BytesIO()
    streamed.write_streamed(graph, again)
    assert again.getvalue() == (tmp_path / "s.onnx").read_bytes()


def test_save_streams_large_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "STREAMED_FROM", 1_000_000)
    size = io.save(large_model(), tmp_path / "s.onnx", force=False)
    assert size == (tmp_path / "s.onnx").stat().st_size
    x = random(2, 600)
    np.testing.assert_array_equal(run(tmp_path / "s.onnx", x=x)[0], run(large_model(), x=x)[0])


@pytest.mark.parametrize("dtype", ["int8", "float32", "int64"])
def test_spilled_tensors_read_back(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    tensor = spilled.spilled(array, "t")
    assert (tensor.name, tensor.dtype) == ("t", ir.DataType.from_numpy(np.dtype(dtype)))
    for _ in range(2):
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.tobytes() == array.tobytes()


def test_large_new_weights_are_not_kept_in_memory() -> None:
    graph = model("g (float[N] x) => (float[N] y) { y = Relu(x) }").graph
    tracemalloc.start()
    for index in range(4):
        make_initializer(graph, f"w{index}", np.ones(spilled.SPILLED_FROM, np.int8))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < spilled.SPILLED_FROM
    assert graph.initializers["w3"].const_value is not None
    assert graph.initializers["w3"].const_value.numpy().sum() == spilled.SPILLED_FROM


def external(tmp_path: Path, weights: Array) -> Path:
    proto = ir.to_proto(
        model("g (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", w=weights)
    )
    onnx.save_model(proto, tmp_path / "e.onnx", save_as_external_data=True, location="e.data",
                    size_threshold=0)  # fmt: skip
    return tmp_path / "e.onnx"


def test_external_weights_are_read_and_not_kept(tmp_path: Path) -> None:
    weights = random(64, 64)
    value = io.load(external(tmp_path, weights)).graph.initializers["w"]
    tensor = value.const_value
    assert isinstance(tensor, UnmappedTensor)
    np.testing.assert_array_equal(tensor.numpy(), weights)
    np.testing.assert_array_equal(np.asarray(tensor), weights)
    assert tensor.numpy() is not tensor.numpy()
    assert tensor.tobytes() == weights.tobytes()
    assert tensor.raw is None


def test_external_weights_that_became_shorter(tmp_path: Path) -> None:
    graph = io.load(external(tmp_path, random(64, 64)))
    (tmp_path / "e.data").write_bytes(b"short")
    tensor = graph.graph.initializers["w"].const_value
    assert tensor is not None
    with pytest.raises(OSError, match="shorter"):
        tensor.numpy()
