"""freeze from file to file: real models, checkpoints, and its refusal to write other answers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import safetensors.numpy

from q8tool.errors import InputError, Q8Error, UnsupportedError, UsageError
from q8tool.model import io
from q8tool.model.graph import op_counts
from q8tool.pipelines import freeze
from q8tool.pipelines.freeze import Options
from tests.graphs import f32, model, proto, random, run

# As exporters write it: weights as inputs, BatchNormalization, Dropout, shape arithmetic.
TEXT = """<ir_version: 4, opset_import: ["": 13]>
g (float[N,3,8,8] x, float[4,3,3,3] conv_w, float[4] s, float[4] b, float[4] m, float[4] v)
    => (float[N,144] y) {
    c = Conv(x, conv_w)  n = BatchNormalization(c, s, b, m, v)  r = Relu(n)  d = Dropout(r)
    k = Shape(d)  i = Constant<value=int64[1]{0}>()  f = Gather(k, i)
    l = Constant<value=int64[1]{-1}>()  t = Concat<axis=0>(f, l)  y = Reshape(d, t) }"""
WEIGHTS = {
    "conv_w": random(4, 3, 3, 3), "s": random(4, seed=1), "b": random(4, seed=2),
    "m": random(4, seed=3), "v": random(4, low=0.5),
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    io.save(model(TEXT, **WEIGHTS), tmp_path / "m.onnx", force=False)
    return tmp_path / "m.onnx"


def frozen(path: Path, **options: Any) -> tuple[freeze.Report, ir.Model]:
    out = path.with_name("out.onnx")
    report = freeze.run(Options(path, out, **options))
    return report, io.load(out)


def test_only_the_input_and_the_arithmetic_remain(path: Path) -> None:
    report, graph = frozen(path)
    assert [value.name for value in graph.graph.inputs] == ["x"]
    assert op_counts(graph) == {"Conv": 1, "Relu": 1, "Reshape": 1}
    assert report.op_counts[0]["BatchNormalization"] == 1
    assert report.op_counts[1] == op_counts(graph)
    assert report.sizes == (path.stat().st_size, path.with_name("out.onnx").stat().st_size)
    assert report.differences["y"] < 1e-5
    x = random(2, 3, 8, 8)
    np.testing.assert_allclose(run(graph, x=x)[0], run(io.load(path), x=x)[0], rtol=1e-5, atol=1e-5)


def test_same_input_same_bytes(path: Path) -> None:
    frozen(path)
    first = path.with_name("out.onnx").read_bytes()
    frozen(path, force=True)
    assert path.with_name("out.onnx").read_bytes() == first


def test_freezing_twice_changes_nothing(path: Path) -> None:
    frozen(path)
    out = path.with_name("out.onnx")
    again = path.with_name("again.onnx")
    report = freeze.run(Options(out, again))
    assert report.changes == []
    assert again.read_bytes() == out.read_bytes()


def test_dimensions_outputs_and_json(path: Path) -> None:
    report, graph = frozen(path, dimensions={"N": 1}, output_names=["r"])
    assert str(graph.graph.inputs[0].shape) == "[1,3,8,8]"
    assert [value.name for value in graph.graph.outputs] == ["r"]
    assert str(graph.graph.outputs[0].shape) == "[1,4,6,6]"
    answer = report.to_json()
    assert answer["nodes"] == {"before": 10, "after": 2}
    assert answer["operators"]["after"] == {"Conv": 1, "Relu": 1}
    assert {"pass_name", "node", "what"} == set(answer["changes"][0])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_checkpoint_by_name(path: Path, suffix: str) -> None:
    new = {"conv_w": random(4, 3, 3, 3, seed=9), "b": random(4, seed=8), "epoch": f32([3])}
    checkpoint = path.with_name(f"c{suffix}")
    if suffix == ".npz":
        np.savez(checkpoint, **dict[str, Any](new))
    else:
        safetensors.numpy.save_file(new, checkpoint)
    report, graph = frozen(path, checkpoint=checkpoint)
    assert report.not_in_checkpoint == ["s", "m", "v"]
    assert report.not_in_model == ["epoch"]
    wanted = model(TEXT, **{**WEIGHTS, "conv_w": new["conv_w"], "b": new["b"]})
    x = random(1, 3, 8, 8)
    np.testing.assert_allclose(run(graph, x=x)[0], run(wanted, x=x)[0], rtol=1e-5, atol=1e-5)


def test_checkpoint_patterns(path: Path) -> None:
    new = {"conv_w": random(4, 3, 3, 3, seed=9), "b": random(4, seed=8)}
    np.savez(path.with_name("c.npz"), **dict[str, Any](new))
    _, graph = frozen(path, checkpoint=path.with_name("c.npz"), only=["conv*", "b"], keep=["b"])
    wanted = model(TEXT, **{**WEIGHTS, "conv_w": new["conv_w"]})
    x = random(1, 3, 8, 8)
    np.testing.assert_allclose(run(graph, x=x)[0], run(wanted, x=x)[0], rtol=1e-5, atol=1e-5)


def test_patterns_without_a_checkpoint_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="--only and --keep choose weights of a --checkpoint"):
        frozen(path, only=["conv*"])


def test_a_structure_without_values_is_filled(tmp_path: Path) -> None:
    text = "g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = MatMul(x, w) }"
    (tmp_path / "m.onnx").write_bytes(proto(text).SerializeToString())
    np.savez(tmp_path / "c.npz", w=random(3, 4))
    _, graph = frozen(tmp_path / "m.onnx", checkpoint=tmp_path / "c.npz")
    assert [value.name for value in graph.graph.inputs] == ["x"]
    x = random(2, 3)
    np.testing.assert_allclose(run(graph, x=x)[0], x @ random(3, 4), rtol=1e-5, atol=1e-6)


def test_training_leftovers(tmp_path: Path) -> None:
    text = """g (float[2,3,4,4] x) => (float[2,3,4,4] y) {
        n, rm, rv = BatchNormalization<training_mode=1>(x, s, b, m, v)
        d = Dropout(n, half, on)  y = Relu(d) }"""
    made = proto(
        text, 15, s=random(3), b=random(3), m=random(3), v=random(3, low=0.5),
        half=f32(0.5), on=np.array(True),
    )  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    _, graph = frozen(tmp_path / "m.onnx")
    assert set(op_counts(graph)) == {"Mul", "Add", "Relu"}


def test_external_data_comes_inside(path: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.onnx"
    io.save(model(TEXT, **WEIGHTS), big, force=False, external_limit=0)
    freeze.run(Options(path, tmp_path / "one.onnx"))
    freeze.run(Options(big, tmp_path / "two.onnx"))
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_other_answers_are_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: ir.Model) -> list[Any]:
        weight = graph.graph.initializers["conv_w"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.01))
        return []

    monkeypatch.setattr(freeze, "simplify", wrong)
    with pytest.raises(Q8Error, match=r"output 'y' would differ .* by 0\.0") as error:
        frozen(path)
    assert error.value.exit_code == 1
    assert not path.with_name("out.onnx").exists()


def test_what_nobody_implements(tmp_path: Path) -> None:
    made = model(
        """<ir_version: 8, opset_import: ["": 13, "mine": 1]>
        g (float[2] x) => (float[2] y) { y = mine.Secret(x) }"""
    )
    io.save(made, tmp_path / "m.onnx", force=False)
    with pytest.raises(UnsupportedError, match="Secret"):
        frozen(tmp_path / "m.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_integer_boolean_and_free_inputs(tmp_path: Path) -> None:
    made = model(
        """g (int64[batch,length] ids, bool[batch,length] mask, uint8[length] pixels)
            => (float[batch,length,8] y) {
            e = Gather(table, ids)  m = Cast<to=1>(mask)  a = Constant<value=int64[1]{2}>()
            u = Unsqueeze(m, a)  w = Mul(e, u)  p = Cast<to=1>(pixels)
            q = Unsqueeze(p, o)  y = Add(w, q) }""",
        table=random(2, 8), o=np.array([1]),
    )  # fmt: skip
    io.save(made, tmp_path / "m.onnx", force=False)
    report, _ = frozen(tmp_path / "m.onnx")
    assert report.differences == {"y": 0.0}


def test_a_model_that_refuses_every_guessed_size_says_so(tmp_path: Path) -> None:
    made = model("g (float[N,K] x) => (float[N,7] y) { y = MatMul(x, w) }", w=random(53, 7))
    io.save(made, tmp_path / "m.onnx", force=False)
    with pytest.raises(InputError, match="MatMul") as error:
        frozen(tmp_path / "m.onnx")
    assert (error.value.hint or "").endswith("exported for: q8tool freeze --dim K=SIZE")
    frozen(tmp_path / "m.onnx", dimensions={"K": 53})


def test_a_model_that_was_exported_for_one_size_is_run_with_it(tmp_path: Path) -> None:
    made = model("g (float[N,K] x) => (float[N,7] y) { y = MatMul(x, w) }", w=random(640, 7))
    io.save(made, tmp_path / "m.onnx", force=False)
    report, _ = frozen(tmp_path / "m.onnx")
    assert set(report.differences) == {"y"}


def test_edges_of_a_graph_find_their_nodes(tmp_path: Path) -> None:
    made = model(
        "g (float[nodes,3] x, int64[2,edges] e) => (float[edges,7] y) "
        "{ i = Constant<value = int64 {1}>() t = Gather<axis=0>(e, i) h = Gather(x, t) "
        "y = MatMul(h, w) }",
        w=random(3, 7),
    )  # fmt: skip
    io.save(made, tmp_path / "m.onnx", force=False)
    report, _ = frozen(tmp_path / "m.onnx")
    assert set(report.differences) == {"y"}


def test_a_shape_that_the_model_declares_wrongly_is_said_of_the_model(tmp_path: Path) -> None:
    made = model(
        "g (float[2,3] x) => (float[2,5] y) { h = MatMul(x, w) y = Relu(h) }", w=random(3, 7)
    )
    io.save(made, tmp_path / "m.onnx", force=False)
    with pytest.raises(InputError, match=r"m\.onnx: is not valid ONNX: .*\(7\) vs \(5\)"):
        frozen(tmp_path / "m.onnx")


@pytest.mark.data
def test_ultraface(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "models" / "ultraface_rfb_320.onnx"
    freeze.run(Options(source, tmp_path / "u.onnx"))
    graph = io.load(tmp_path / "u.onnx")
    assert [value.name for value in graph.graph.inputs] == ["input"]
    assert [value.name for value in graph.graph.outputs] == ["scores", "boxes"]
    left = set(op_counts(graph))
    gone = {"BatchNormalization", "Constant", "ConstantOfShape", "Gather", "Shape", "Unsqueeze"}
    assert not left & gone
    x = random(1, 3, 240, 320)
    for wanted, got in zip(run(source, input=x), run(tmp_path / "u.onnx", input=x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.data
@pytest.mark.parametrize("name", ["mobilenet_v1_0.75_224", "mobilenet_v2_1.0_224"])
def test_mobilenets(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "models" / f"{name}.onnx"
    freeze.run(Options(source, tmp_path / "m.onnx", dimensions={"N": 2}))
    assert "BatchNormalization" not in op_counts(io.load(tmp_path / "m.onnx"))
    x = random(2, 3, 224, 224)
    wanted, got = run(source, input=x)[0], run(tmp_path / "m.onnx", input=x)[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
