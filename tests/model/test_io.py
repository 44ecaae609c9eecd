"""Model files: what is read, what is refused, that a file is whole or not there."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.errors import InputError, UnsupportedError, UsageError
from q8tool.model import io
from q8tool.model.files import write_atomically
from tests.graphs import model, proto, random, run

TEXT = "g (float[2,50] x) => (float[2,40] y) { y = MatMul(x, w) }"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto(TEXT, w=random(50, 40)).SerializeToString())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def with_external_data(folder: Path, location: str = "m.data", **changes: Any) -> Path:
    """A model whose weights lie in a file; changes are entries of external_data."""
    made = proto(TEXT, w=random(50, 40))
    weights = made.graph.initializer[0]
    (folder / "m.data").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": 0, "length": 8000} | changes
    for key, value in entries.items():
        weights.external_data.add(key=key, value=str(value))
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_round_trip_and_same_bytes_twice(saved: Path, tmp_path: Path) -> None:
    loaded = io.load(saved)
    written = io.save(loaded, tmp_path / "a.onnx", force=False)
    io.save(io.load(saved), tmp_path / "b.onnx", force=False)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert written == (tmp_path / "a.onnx").stat().st_size
    assert io.file_bytes(loaded, saved) == saved.stat().st_size
    again = io.load(tmp_path / "a.onnx")
    np.testing.assert_array_equal(run(loaded, x=random(2, 50)), run(again, x=random(2, 50)))


@pytest.mark.parametrize("name", ["m.textproto", "m.pbtxt", "m.json"])
def test_text_forms(name: str, tmp_path: Path) -> None:
    graph = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    io.save(graph, tmp_path / name, force=False)
    assert [node.op_type for node in io.load(tmp_path / name).graph] == ["Relu"]
    assert b"Relu" in (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"#!/usr/bin/python\nprint('not a model')\n" * 9, "is a text file, not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 9, "is not an ONNX model, or is damaged"),
        (b"\x08\x08", "is not an ONNX model, or is damaged"),
        (b"\x00" * 5000, "is not an ONNX model, or is damaged"),
    ],
)
def test_files_that_are_no_models(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        io.load(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="damaged or truncated"):
        io.load(saved)


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_gives_an_error_or_a_model_but_no_crash(saved: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(saved.read_bytes())
    for position in generator.integers(0, 200, 5):
        data[-position] = generator.integers(0, 256)
    saved.write_bytes(bytes(data))
    with suppress(InputError):
        io.load(saved)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        io.load(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="is a folder, a model file is needed"):
        io.load(tmp_path)


def test_an_operator_that_the_standard_does_not_know(tmp_path: Path) -> None:
    made = proto("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    made.graph.node[0].op_type = "Frobnicate"
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(UnsupportedError, match="the standard has no operator Frobnicate"):
        io.load(path)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu(nobody)",
        "a = Relu(b)  b = Relu(a)  y = Relu(a)",
        "y = Relu(x)  y = Exp(x)",
    ],
)
def test_graphs_that_do_not_hang_together(nodes: str, tmp_path: Path) -> None:
    made = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 13]> g (float[2] x) => (float[2] y) {{ {nodes} }}'
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match="is not a valid ONNX model"):
        io.load(path)


def test_external_data_is_read_and_can_be_inlined(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    loaded = io.load(path)
    assert io.file_bytes(loaded, path) == path.stat().st_size + 8000
    io.save(loaded, tmp_path / "one.onnx", force=False)
    (tmp_path / "m.data").unlink()
    wanted = random(2, 50) @ random(50, 40)
    got = run(io.load(tmp_path / "one.onnx"), x=random(2, 50))[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "../m.data"}, "lies outside the model's folder"),
        ({"location": "/etc/passwd"}, "lies outside the model's folder"),
        ({"location": "a/../../m.data"}, "lies outside the model's folder"),
        ({"location": "link"}, "lies outside the model's folder"),
        ({"location": "none.data"}, "'none.data' is missing"),
        ({"location": "."}, "is missing"),
        ({"location": ""}, "lies outside the model's folder"),
        ({"location": "a\0b"}, "is described wrongly: embedded null byte"),
        ({"offset": 4}, "is truncated"),
        ({"offset": -4}, "is described wrongly"),
        ({"offset": 2**62}, "is truncated"),
        ({"length": 12}, "has 12 bytes, its shape needs 8000"),
        ({"offset": "soon"}, "is described wrongly"),
    ],
)
def test_external_data_elsewhere_or_short(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.data"
    outside.write_bytes(bytes(8000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (tmp_path / "m.data").write_bytes(bytes(8000))
    path = with_external_data(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        io.load(path)
    assert "tensor 'w'" in caught.value.message


@pytest.mark.parametrize("dims", [[0, -(2**63)], [0, 2**62], [1] * 70])
def test_external_data_of_a_shape_that_cannot_be(dims: list[int], tmp_path: Path) -> None:
    path = with_external_data(tmp_path, length=0)
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].dims[:] = dims
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match="tensor 'w': its external data cannot have the shape"):
        io.load(path)


def test_above_the_limit_the_weights_get_their_own_file(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    graph = io.load(saved)
    written = io.save(graph, out / "big.onnx", force=False, external_limit=7999)
    assert names(out) == ["big.onnx", "big.onnx.data"]
    assert written == sum(path.stat().st_size for path in out.iterdir())
    (out / "big.onnx").rename(out / "renamed.onnx")
    onnx.checker.check_model(str(out / "renamed.onnx"), full_check=True)
    np.testing.assert_array_equal(
        run(graph, x=random(2, 50)), run(out / "renamed.onnx", x=random(2, 50))
    )
    with pytest.raises(UsageError, match=r"big\.onnx\.data: exists already"):
        io.save(graph, out / "big.onnx", force=False, external_limit=7999)
    io.save(graph, out / "big.onnx", force=True, external_limit=7999)
    io.save(graph, out / "small.onnx", force=False, external_limit=8000)
    assert not (out / "small.onnx.data").exists()


def test_external_data_can_be_written_over_itself(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    io.save(io.load(saved), path, force=False, external_limit=0)
    before = (tmp_path / "big.onnx.data").read_bytes()
    io.save(io.load(path), path, force=True, external_limit=0)
    assert (tmp_path / "big.onnx.data").read_bytes() == before
    io.save(io.load(path), path, force=True)
    assert isinstance(io.load(path).graph.initializers["w"].const_value, ir.TensorProtocol)


def test_outputs_that_are_refused(saved: Path, tmp_path: Path) -> None:
    graph, before = io.load(saved), saved.read_bytes()
    for path, message in [
        (saved, "exists already"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "m.onnx", "does not exist"),
        (Path("/dev/full"), "is not a regular file"),
        (Path("/proc/m.onnx"), "cannot be written"),
    ]:
        with pytest.raises(UsageError, match=message):
            io.save(graph, path, force=False)
    assert saved.read_bytes() == before
    assert names(tmp_path) == ["m.onnx"]


def test_a_link_is_followed(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(saved)
    io.save(io.load(saved), tmp_path / "link.onnx", force=True)
    assert (tmp_path / "link.onnx").is_symlink()


def test_new_files_have_the_usual_rights(saved: Path, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        io.save(io.load(saved), tmp_path / "new.onnx", force=False)
    finally:
        os.umask(old)
    assert (tmp_path / "new.onnx").stat().st_mode & 0o777 == 0o640


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("limit", [0, 10**9])
def test_full_disk_keeps_the_old_file_and_leaves_nothing(
    saved: Path, tmp_path: Path, limit: int
) -> None:
    before = saved.read_bytes()
    with pytest.raises(UsageError, match="cannot be written: no space left on device"):
        io.save(io.load(saved), saved, force=True, external_limit=limit)
    assert saved.read_bytes() == before
    assert names(tmp_path) == ["m.onnx"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with write_atomically(tmp_path / "out", force=False) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == []


def test_outputs_without_a_shape_get_the_inferred_one(tmp_path: Path) -> None:
    made = proto(TEXT, w=random(50, 40))
    made.graph.output[0].ClearField("type")
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    output = io.load(path).graph.outputs[0]
    assert output.shape is not None
    assert list(output.shape) == [2, 40]
