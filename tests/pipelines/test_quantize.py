"""quantize from file to file on small graphs: modes, sources of ranges, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from q8tool import Session
from q8tool.calibrate.ranges import RangesFile
from q8tool.errors import InputError, Q8Error, UsageError
from q8tool.model import io, metadata
from q8tool.model.graph import constant, is_quantized, op_counts
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.run_time_gain import FEW_PRODUCTS
from q8tool.passes.share_scales import share_scales
from q8tool.passes.simplify import simplify
from q8tool.passes.trim_ranges import trim_ranges
from q8tool.pipelines import compare, quantize
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.quantize import MODES, Options, Report
from q8tool.pipelines.range_sources import RangeOptions, find_ranges
from q8tool.pipelines.shared_session import SharedSession
from tests.graphs import Array, f32, i64, model, ops, proto, random, run

# Residual, concat, squeeze and excite, SiLU, pooling, a head: what real models are made of.
TEXT = """g (float[N,3,16,16] image) => (float[N,7] scores) {
    c1 = Conv<pads=[1,1,1,1]>(image, w1, b1) r1 = Relu(c1)
    d = Conv<group=8, pads=[1,1,1,1]>(r1, w2, b1) r2 = Clip(d, zero, six)
    c3 = Conv(r2, w3) res = Add(c3, r1)
    p = GlobalAveragePool(res) e = Conv(p, w3) gate = Sigmoid(e) se = Mul(res, gate)
    s = Sigmoid(se) silu = Mul(se, s)
    both = Concat<axis=1>(silu, r1) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(both)
    c4 = Conv(m, w4) r4 = Relu(c4) q = GlobalAveragePool(r4) f = Flatten(q)
    logits = Gemm<transB=1>(f, w5, b5) scores = Softmax(logits) }"""
WEIGHTS: dict[str, Any] = {
    "w1": random(8, 3, 3, 3), "b1": random(8), "w2": random(8, 1, 3, 3), "w3": random(8, 8, 1, 1),
    "w4": random(8, 16, 1, 1) * 0.3, "w5": random(7, 8), "b5": random(7),
    "zero": f32(0), "six": f32(6),
}  # fmt: skip


def inputs(count: int) -> Array:
    return random(count, 3, 16, 16, low=-1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    io.save(model(TEXT, 13, **WEIGHTS), tmp_path / "float.onnx", force=False)
    np.savez(tmp_path / "data.npz", image=inputs(20))
    return tmp_path / "float.onnx"


def quantized(path: Path, **options: Any) -> tuple[Report, ir.Model]:
    out = path.with_name("out.onnx")
    report = quantize.run(Options(path, out, force=True, **options))
    onnx.checker.check_model(str(out), full_check=True)
    return report, io.load(out)


def data(path: Path) -> Path:
    return path.with_name("data.npz")


def distance(path: Path, graph: ir.Model) -> float:
    x = inputs(20)[5:8]
    return float(np.abs(run(graph, image=x)[0] - run(path, image=x)[0]).max())


def test_with_data_everything_is_static(path: Path) -> None:
    report, graph = quantized(path, data=data(path))
    # All but the Sigmoid of silu, which is inside its product's table.
    assert (report.static, report.dynamic) == (15, 0)
    assert report.kept == []
    assert report.ranging.source == "16 samples, weighted-mse"
    assert report.comparison.samples == 4
    assert not report.comparison.is_random
    assert report.comparison.sqnr_db is not None
    assert report.comparison.sqnr_db > 20
    assert distance(path, graph) < 0.1
    assert op_counts(graph)["QuantizeLinear"] < 20
    assert "ConvInteger" not in op_counts(graph)


def test_without_data_the_weights_are_eight_bit_and_ranges_are_taken_at_run_time(
    path: Path,
) -> None:
    report, graph = quantized(path)
    # The first convolution; the others are narrow: float is faster.
    assert report.dynamic == 1
    assert [why for _, why in report.kept].count(FEW_PRODUCTS) == 3
    assert report.ranging.source.startswith("operators only")
    assert report.comparison.is_random
    assert distance(path, graph) < 0.1
    assert op_counts(graph)["ConvInteger"] == 1
    # Clip says 0..6: what reads it needs no run time.
    assert report.static >= 1


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_answers_in_both_engines(path: Path, mode: str) -> None:
    report, graph = quantized(path, data=data(path), mode=mode)
    assert distance(path, graph) < 0.1
    assert is_quantized(graph) == (mode in ("eightbit", "weights"))
    x = inputs(3)
    ours = Session(path.with_name("out.onnx")).run({"image": x})["scores"]
    np.testing.assert_allclose(ours, run(graph, image=x)[0], atol=0.03)
    assert report.mode == mode
    assert (report.zipped is None) == (mode != "weights-rounded")
    assert json.loads(json.dumps(report.to_json()))["mode"] == mode


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("format", ["qdq", "qoperator"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_options_of_eightbit(path: Path, calibration: str, format: str, per_channel: bool) -> None:
    _, graph = quantized(
        path, data=data(path), calibration=calibration, format=format, per_channel=per_channel
    )
    assert distance(path, graph) < 0.15
    assert ("QLinearConv" in ops(graph)) == (format == "qoperator")
    scales = {
        v.const_value.shape.numpy() for v in graph.graph.initializers.values() if v.const_value
    }
    assert ((8,) in scales) or not per_channel


def test_names_types_and_shapes_stay(path: Path) -> None:
    before = io.load(path)
    for options in ({}, {"data": data(path)}, {"mode": "weights"}, {"strip": False}):
        _, graph = quantized(path, **options)
        for wanted, got in zip(
            [*before.graph.inputs, *before.graph.outputs],
            [*graph.graph.inputs, *graph.graph.outputs], strict=True,
        ):  # fmt: skip
            assert (got.name, got.dtype, got.shape) == (wanted.name, wanted.dtype, wanted.shape)


def test_same_input_same_bytes(path: Path) -> None:
    out = path.with_name("out.onnx")
    quantized(path, data=data(path))
    first = out.read_bytes()
    quantized(path, data=data(path))
    assert out.read_bytes() == first


def test_input_file_as_output(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        quantize.run(Options(path, path))
    assert path.read_bytes() == before
    quantize.run(Options(path, path, force=True))
    assert is_quantized(io.load(path))


def test_excluded_nodes_stay_float(path: Path) -> None:
    report, graph = quantized(path, data=data(path), excluded=["op:Gemm", "Conv_c1", "re:Mul_.*"])
    assert ("Gemm 'Gemm_logits'", "excluded") in report.kept
    assert [reason for _, reason in report.kept].count("excluded") == 4
    producers = {v.name: n for n in graph.graph for v in n.outputs}
    conv = producers["c1"]
    assert conv.inputs[1] is not None
    assert conv.inputs[1].name == "w1"
    with pytest.raises(UsageError, match="matches no node") as caught:
        quantized(path, excluded=["op:Gem"])
    assert caught.value.hint == "did you mean op:Gemm?"
    with pytest.raises(UsageError, match="excluded"):
        quantized(path, excluded=["*"])


def test_a_ranges_file_gives_the_graph_that_the_data_gave(path: Path) -> None:
    found = io.load(path)
    simplify(found)
    options = RangeOptions(data=data(path))
    ranging = find_ranges(SharedSession(found), options, (), lambda stage, done, total: None)
    choice = choose_precision(found, None)
    names = set(choice.tensors())
    # A range from a file is taken as it is.
    shared, _ = share_scales(found, trim_ranges(found, ranging.ranges)[0])
    text = RangesFile({k: v for k, v in shared.items() if k in names}).text()
    path.with_name("r.json").write_text(text)
    _, by_data = quantized(path, data=data(path))
    report, by_file = quantized(path, ranges=path.with_name("r.json"), data=data(path))
    by_data.metadata_props.clear()
    by_file.metadata_props.clear()
    assert ir.to_proto(by_file).SerializeToString() == ir.to_proto(by_data).SerializeToString()
    assert report.ranging.source == "a ranges file"


def test_a_range_that_was_given_is_the_range_even_where_channels_are_uneven(tmp_path: Path) -> None:
    """Channels are equalized where ranges are measured; a file's are of the model as it is."""
    uneven = f32([1, 0.01, 0.1, 0.03])
    text = "g (float[N,3] x) => (float[N,5] y) { a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"
    float_model = model(text, 13, w=random(3, 4) * uneven, v=random(4, 5) / uneven[:, None])
    path = tmp_path / "float.onnx"
    io.save(float_model, path, force=False)
    np.savez(tmp_path / "data.npz", x=random(40, 500, 3))
    report, _ = quantized(path, data=tmp_path / "data.npz")
    assert any(change.pass_name == "equalize" for change in report.changes)
    _scales_are_undone(tmp_path, path)
    given = {"x": (-2.0, 2.0), "r": (0.0, 51.0), "y": (-9.0, 9.0)}
    (tmp_path / "r.json").write_text(RangesFile(given).text())
    report, found = quantized(path, ranges=tmp_path / "r.json", data=tmp_path / "data.npz")
    assert not any(change.pass_name == "equalize" for change in report.changes)
    scales = [constant(node.inputs[1]) for node in found.graph if node.op_type == "QuantizeLinear"]
    assert any(scale == pytest.approx(51.0 / 255, rel=1e-6) for scale in scales)


def _scales_are_undone(folder: Path, path: Path) -> None:
    """compare knows the values that were scaled, and by what each channel was."""
    found = compare.run(compare.Options(path, path.with_name("out.onnx"), data=folder / "data.npz"))
    rows = {value.name: value for value in found.values}
    assert rows["a"].is_scaled
    assert rows["r"].is_scaled
    assert not rows["y"].is_scaled
    assert all(row.sqnr_db is None or row.sqnr_db > 25.0 for row in rows.values())


def test_ranges_of_another_model(path: Path) -> None:
    path.with_name("r.json").write_text(
        RangesFile({"image": (0.0, 1.0), "logitz": (0.0, 1.0)}).text()
    )
    with pytest.raises(UsageError, match="no tensor 'logitz'") as caught:
        quantized(path, ranges=path.with_name("r.json"))
    assert caught.value.hint == "did you mean logits?"


def test_the_range_of_an_input(path: Path) -> None:
    report, graph = quantized(path, input_ranges={"image": (-1.0, 1.0)})
    first = next(node for node in graph.graph if node.op_type == "QuantizeLinear")
    assert first.inputs[0] is graph.graph.inputs[0]
    assert report.dynamic < quantized(path)[0].dynamic
    with pytest.raises(UsageError, match="no input 'img'"):
        quantized(path, input_ranges={"img": (-1.0, 1.0)})


def test_sources_exclude_each_other(path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        quantized(path, data=data(path), images=[path])


def test_quantizing_twice_is_refused(path: Path) -> None:
    _, _ = quantized(path)
    with pytest.raises(InputError, match="quantized already"):
        quantize.run(Options(path.with_name("out.onnx"), path.with_name("again.onnx")))
    assert not path.with_name("again.onnx").exists()


@pytest.mark.parametrize(
    ("text", "weights", "mode", "message"),
    [
        ("g (float[2] x) => (float[2] y) { y = Relu(x) }", {}, "eightbit", "constant weights"),
        ("g (float[2] x) => (float[2] x) { }", {}, "eightbit", "constant weights"),
        ("g (float[2] x) => (float[2] y) { y = Relu(x) }", {}, "weights", "64 numbers"),
        (
            "g (float[2,2] x) => (float[2,2] y) { y = MatMul(x, w) }", {"w": f32(np.eye(2))},
            "weights-rounded", "64 numbers",
        ),
        (
            "g (int32[2,9] x) => (int32[2,9] y) { y = MatMul(x, w) }",
            {"w": np.eye(9, dtype=np.int32)}, "eightbit", "does not compute in float32",
        ),
    ],
)  # fmt: skip
def test_nothing_to_quantize(
    tmp_path: Path, text: str, weights: dict[str, Any], mode: Any, message: str
) -> None:
    onnx.save(proto(text, 13, **weights), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=message):
        quantize.run(Options(tmp_path / "m.onnx", tmp_path / "o.onnx", mode=mode))
    assert not (tmp_path / "o.onnx").exists()


def test_a_model_without_operators_that_quantize_among_others(tmp_path: Path) -> None:
    """Integer and float layers side by side: the float ones become eight-bit."""
    text = """g (float[2,9] x) => (float[2,9] y) {
        a = MatMul(x, w) h = Cast<to=6>(a) b = MatMul(h, k) y = Cast<to=1>(b) }"""
    weights: dict[str, Any] = {"w": random(9, 9), "k": np.eye(9, dtype=np.int32)}
    onnx.save(proto(text, 13, **weights), tmp_path / "m.onnx")
    report = quantize.run(Options(tmp_path / "m.onnx", tmp_path / "o.onnx"))
    assert report.dynamic == 1
    assert report.kept == [("MatMul 'MatMul_b'", "it does not compute in float32")]


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
def test_opsets(tmp_path: Path, opset: int) -> None:
    clip = "Clip<min=0.0, max=6.0>(c)" if opset < 11 else "Clip(c, zero, six)"
    text = f"""g (float[N,3,8,8] x) => (float[N,5] y) {{
        n = BatchNormalization(x, s, o, m, v) c = Conv(n, w) r = {clip}
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) q = GlobalAveragePool(p)
        f = Flatten(q) y = Gemm(f, k, b) }}"""
    weights: dict[str, Any] = {
        "s": random(3), "o": random(3), "m": random(3), "v": random(3, low=0.5),
        "w": random(4, 3, 3, 3), "k": random(4, 5), "b": random(5),
    } | ({} if opset < 11 else {"zero": f32(0), "six": f32(6)})  # fmt: skip
    onnx.save(proto(text, opset, **weights), tmp_path / "m.onnx")
    report = quantize.run(Options(tmp_path / "m.onnx", tmp_path / "o.onnx"))
    assert report.opset == (opset, max(opset, 13))
    x = random(2, 3, 8, 8)
    wanted, got = run(tmp_path / "m.onnx", x=x)[0], run(tmp_path / "o.onnx", x=x)[0]
    np.testing.assert_allclose(got, wanted, atol=0.05 * np.abs(wanted).max())


def test_several_inputs_from_an_npz(tmp_path: Path) -> None:
    text = """g (float[N,8] x, float[1,8] s, int64[1] i) => (float[N,4] y) {
        a = Mul(x, s) b = MatMul(a, w) c = Gather<axis=1>(b, i) y = Add(b, c) }"""
    onnx.save(proto(text, 13, w=random(8, 4)), tmp_path / "m.onnx")
    arrays: dict[str, Any] = {"x": random(12, 8), "s": random(12, 1, 8), "i": i64([[1]] * 12)}
    np.savez(tmp_path / "d.npz", **arrays)
    report = quantize.run(
        Options(tmp_path / "m.onnx", tmp_path / "o.onnx", data=tmp_path / "d.npz")
    )
    assert report.static == 2
    assert report.comparison.samples == 3
    folder = photos(tmp_path / "photos", 1)
    with pytest.raises(InputError, match="one picture"):
        quantize.run(Options(tmp_path / "m.onnx", tmp_path / "p.onnx", images=[folder]))


def test_open_sizes_without_data(tmp_path: Path) -> None:
    """Random input of a size that the kernels fit in."""
    text = "g (float[N,3,H,W] x) => (float[N,4,a,b] y) { y = Conv(x, w) }"
    onnx.save(proto(text, 13, w=random(4, 3, 5, 5)), tmp_path / "m.onnx")
    report = quantize.run(Options(tmp_path / "m.onnx", tmp_path / "o.onnx"))
    assert report.comparison.sqnr_db is not None
    assert report.comparison.sqnr_db > 25


def photos(folder: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(4)
    for index in range(count):
        file = folder / f"p{index:02}.png"
        if index in broken:
            file.write_bytes(b"no photo")
        else:
            pixels = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(file)
    return folder


def test_photos(path: Path) -> None:
    folder = photos(path.parent / "photos", 12)
    report, graph = quantized(path, images=[folder], preprocessing=SpecOptions("unit"))
    assert report.dynamic == 0
    assert report.ranging.source == "9 samples, weighted-mse"
    stored = metadata.preprocess(graph)
    assert stored is not None
    assert stored["mean"] == [0.0, 0.0, 0.0]
    assert stored["std"] == [255.0] * 3
    note = json.loads(graph.metadata_props["q8tool.quantize"])
    assert note["ranges"] == "9 samples, weighted-mse"
    assert note["compared_on"] == "3 held-back samples"
    assert str(path.parent) not in graph.metadata_props["q8tool.quantize"]


@pytest.mark.parametrize("broken", [(3, 4), (0,), (0, 5, 10)])
def test_photos_that_cannot_be_read_are_skipped_and_listed_once(
    path: Path, broken: tuple[int, ...]
) -> None:
    folder = photos(path.parent / "photos", 12, broken)
    report, _ = quantized(path, images=[folder], preprocessing=SpecOptions("unit"))
    assert sorted(Path(file).name for file, _ in report.ranging.skipped) == [
        f"p{index:02}.png" for index in broken
    ]
    assert {reason for _, reason in report.ranging.skipped} == {"not a photo"}
    assert report.comparison.is_random == (broken == (0, 5, 10))
    assert json.dumps(report.to_json(), allow_nan=False)


def test_a_model_that_takes_four_photos_at_once(path: Path) -> None:
    text = "g (float[4,3,16,16] x) => (float[4,8,14,14] y) { c = Conv(x, w) y = Relu(c) }"
    io.save(model(text, w=random(8, 3, 3, 3)), path, force=True)
    folder = photos(path.parent / "photos", 6)
    report, _ = quantized(path, images=[folder], preprocessing=SpecOptions("unit"))
    assert report.static == 1
    assert report.comparison.samples == 2
    assert not report.comparison.is_random


def test_no_photo_can_be_read(path: Path) -> None:
    folder = photos(path.parent / "photos", 3, (0, 1, 2))
    with pytest.raises(InputError):
        quantized(path, images=[folder], preprocessing=SpecOptions("unit"))
    assert not path.with_name("out.onnx").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": f32([[1]]), "more": f32([[1]])}, "no array for input 'image'"),
        ({"image": np.zeros((4, 2, 16, 16), np.float32)}, "does not hold samples of shape"),
        ({"image": np.zeros((0, 3, 16, 16), np.float32)}, "numbers of samples"),
        ({"image": np.full((6, 3, 16, 16), np.nan, np.float32)}, r"data\.npz\[1\]: tensor"),
    ],
)
def test_data_that_does_not_fit(path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(data(path), **arrays)
    with pytest.raises(InputError, match=message):
        quantized(path, data=data(path))


def test_a_single_array(path: Path) -> None:
    np.save(path.with_name("one.npy"), inputs(6))
    report, _ = quantized(path, data=path.with_name("one.npy"))
    assert report.ranging.source == "4 samples, weighted-mse"


@pytest.mark.parametrize("content", [None, b"", b"not a zip", b"PK\x03\x04broken"])
def test_data_that_is_none(path: Path, content: bytes | None) -> None:
    file = path.with_name("bad.npz")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Q8Error, match=r"bad\.npz"):
        quantized(path, data=file)
