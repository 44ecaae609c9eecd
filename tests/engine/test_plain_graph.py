"""Plain files: the same graph as onnx makes of them, and nothing that onnx would refuse."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from q8tool import Session
from q8tool.engine.graph import Graph
from q8tool.engine.plain_graph import plain_graph
from q8tool.engine.read_graph import read_graph
from q8tool.errors import InputError
from q8tool.model import io
from q8tool.model.plain_file import read_plain
from tests.build import Case, float_model, node, quantized_model
from tests.engine.cases import CODE_CASES, FLOAT_CASES
from tests.fuzz.mutate import damaged_bytes, damaged_model

MODELS = [(case, float_model) for case in FLOAT_CASES]
MODELS += [(case, lambda case: quantized_model(case, "uint8")) for case in CODE_CASES]


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def comparable(graph: Graph) -> object:
    """All of a graph but its functions, as values that compare."""
    nodes = [
        (n.name, n.op_type, n.domain, n.version, n.inputs, n.outputs, n.captured,
         {k: list(v) if isinstance(v, tuple) else v for k, v in n.attributes.items()},
         n.proto.SerializeToString(deterministic=True))
        for n in graph.nodes
    ]  # fmt: skip
    constants = {name: read().tobytes() for name, read in graph.constants.items()}
    return (
        graph.inputs, graph.outputs, nodes, constants, graph.constant_types, graph.optional,
        graph.opsets, dict(graph.metadata_props),
    )  # fmt: skip


@pytest.mark.parametrize(("case", "make"), MODELS, ids=[case.name for case, _ in MODELS])
def test_same_graph(case: Case, make: Callable[[Case], onnx.ModelProto], tmp_path: Path) -> None:
    model = make(case)
    onnx.helper.set_model_props(model, {"note": "ä"})
    path = saved(model, tmp_path / "m.onnx")
    plain = read_plain(path)
    assert plain is not None
    assert comparable(plain_graph(plain)) == comparable(read_graph(io.load(path)))


def big(rows: int = 300) -> onnx.ModelProto:
    w = np.arange(rows * 64, dtype=np.float32).reshape(64, rows)
    x = np.zeros((2, 64), np.float32)
    return float_model(Case("big", [node("MatMul", "x w", "y")], {"x": x}, {"w": w}))


def test_large_weights_are_read_when_asked_for(tmp_path: Path) -> None:
    path = saved(big(), tmp_path / "m.onnx")
    plain = read_plain(path)
    assert plain is not None
    weights = plain.initializers["w"]
    path.unlink()
    assert np.array_equal(weights.read(), np.arange(300 * 64).reshape(64, 300))


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    path = saved(big(), tmp_path / "m.onnx")
    plain = read_plain(path)
    assert plain is not None
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match="shorter"):
        plain.initializers["w"].read()


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = big()
    change(model)
    return model


def clear_dims(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0].dims[:]


NOT_PLAIN: dict[str, Callable[[onnx.ModelProto], object]] = {
    "no ir version": lambda m: m.ClearField("ir_version"),
    "a new ir version": lambda m: setattr(m, "ir_version", 1000),
    "no operator set": lambda m: m.ClearField("opset_import"),
    "an old operator set": lambda m: setattr(m.opset_import[0], "version", 6),
    "two operator sets": lambda m: m.opset_import.add(domain="", version=17),
    "a function": lambda m: m.functions.add(name="f", domain="d"),
    "no graph": lambda m: m.ClearField("graph"),
    "no name": lambda m: m.graph.ClearField("name"),
    "a foreign operator": lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"),
    "an unknown operator": lambda m: setattr(m.graph.node[0], "op_type", "MatMol"),
    "an unknown attribute": lambda m: m.graph.node[0].attribute.add(name="a", i=1, type=2),
    "a value that nobody makes": lambda m: m.graph.node[0].input.__setitem__(0, "z"),
    "an output that nobody makes": lambda m: setattr(m.graph.output[0], "name", "z"),
    "a value made twice": lambda m: m.graph.node.add().CopyFrom(m.graph.node[0]),
    "an input without a type": lambda m: m.graph.input[0].ClearField("type"),
    "a negative size": lambda m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -1
    ),
    "weights twice": lambda m: m.graph.initializer.add().CopyFrom(m.graph.initializer[0]),
    "weights without a name": lambda m: m.graph.initializer[0].ClearField("name"),
    "weights elsewhere": lambda m: setattr(m.graph.initializer[0], "data_location", 1),
    "weights of a type unknown": lambda m: setattr(m.graph.initializer[0], "data_type", 99),
    "weights that are no scalar": clear_dims,
    "notes twice": lambda m: [m.metadata_props.add(key="a", value="b") for _ in range(2)],
}


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_not_plain(tmp_path: Path, what: str) -> None:
    assert read_plain(saved(big(), tmp_path / "good.onnx")) is not None
    assert read_plain(saved(changed(NOT_PLAIN[what]), tmp_path / "bad.onnx")) is None


def test_numbers_that_their_type_cannot_be(tmp_path: Path) -> None:
    """protobuf keeps the lowest bits."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.add(name="u", data_type=2, dims=[1], int32_data=[300])

    path = saved(changed(change), tmp_path / "m.onnx")
    assert read_plain(path) is None
    assert read_graph(io.load(path)).constants["u"]().tolist() == [300 & 255]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 40, b"ir_version: 8\n"])
def test_no_model_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert read_plain(path) is None
    with pytest.raises(InputError):
        Session(path)


def without_inner_values(model: onnx.ModelProto) -> bytes:
    """Their types and shapes are not looked at, so damage in them is not seen."""
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_model])
def test_what_is_read_is_valid(tmp_path: Path, damage: Callable[..., bytes]) -> None:
    random = np.random.default_rng(3)
    originals = [without_inner_values(make(case)) for case, make in MODELS[::9]]
    path, read = tmp_path / "m.onnx", 0
    for data in originals * 12:
        path.write_bytes(damage(random, data))
        if read_plain(path) is None:
            continue
        read += 1
        onnx.checker.check_model(onnx.load(path))
    assert read > 20


def test_a_session_does_without_onnx(tmp_path: Path) -> None:
    code = (
        "import sys; from q8tool import Session; import numpy as np;"
        "Session(sys.argv[1]).run({'x': np.zeros((2, 64), np.float32)});"
        "print([name for name in sys.modules if name.startswith(('onnx', 'google'))])"
    )
    path = saved(big(), tmp_path / "m.onnx")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True, capture_output=True, text=True,
        env={**os.environ, "Q8_CACHE": "off"},
    )  # fmt: skip
    assert done.stdout == "[]\n"
