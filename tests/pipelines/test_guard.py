"""Guard: slower or worse than asked is no file; what is a bit worse is a warning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from q8tool.calibrate.collect import Sample
from q8tool.errors import SlowerError, UsageError
from q8tool.model import io
from q8tool.pipelines import quantize, timing
from q8tool.pipelines.answers import Accuracy, Comparison, Difference, Referee
from q8tool.pipelines.damage import Damage
from q8tool.pipelines.guard import beyond, noisiest, refuse_slower, worries
from q8tool.pipelines.quantize import Options
from q8tool.pipelines.timing import Timing, time_models
from tests.graphs import f32, model, random
from tests.pipelines.classifiers import BLUE, GREEN, RED, colour_model, photo, saved

TEXT = "g (float[N,16] x) => (float[N,5] y) { c = MatMul(x, w) r = Relu(c) y = MatMul(r, v) }"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = model(TEXT, w=random(16, 32), v=random(32, 5))
    np.savez(tmp_path / "d.npz", x=random(40, 16))
    return saved(graph, tmp_path / "m.onnx")


def comparison(**values: Any) -> Comparison:
    usual: dict[str, Any] = {
        "samples": 20, "is_random": False, "agreement": 1.0, "expected": 1.0, "sqnr_db": 30.0,
        "equal": None, "worst": "a",
    }  # fmt: skip
    return Comparison(**{**usual, **values})


def differing(count: int) -> list[Difference]:
    return [Difference(str(i), 0, 1) for i in range(count)]


def test_what_counts_as_a_drop() -> None:
    assert comparison(agreement=0.75).drop == 0.25
    both = (Accuracy(20, 0.5, 0.9), Accuracy(20, 0.75, 0.9))
    assert comparison(agreement=0.5, accuracy=both).drop == 0.0
    assert comparison(agreement=1.0, accuracy=both[::-1]).drop == 0.25
    assert comparison(agreement=None, equal=0.75).drop == 0.25
    assert comparison(agreement=None, sqnr_db=20.0).drop == pytest.approx(0.1)
    assert comparison(agreement=None, sqnr_db=None).drop is None


def test_what_is_beyond_the_drop_is_said() -> None:
    error = beyond(comparison(agreement=0.95), 0.01)
    assert error.message == "the drop is 5.00%, not at most 1.00%; nothing was written"
    assert error.exit_code == 4
    assert "3.00%" in beyond(comparison(agreement=1.0, expected=0.97), 0.01).message
    nothing = comparison(agreement=None, sqnr_db=None)
    assert "nothing can be compared" in beyond(nothing, 0.01, writes=False).message


def test_worries() -> None:
    assert worries(comparison()) == []
    assert worries(comparison(agreement=0.95, differing=differing(1))) == []
    assert "20.0% of the samples" in worries(comparison(agreement=0.8, differing=differing(4)))[0]
    both = (Accuracy(20, 0.9, 1.0), Accuracy(20, 0.5, 1.0))
    lost = comparison(agreement=0.5, differing=differing(9), accuracy=both)
    assert "from 90.0% to 50.0%" in worries(lost)[0]
    assert worries(comparison(is_random=True, agreement=0.0)) == []
    assert "2.0 dB" in worries(comparison(is_random=True, sqnr_db=2.0))[0]


def test_the_noisiest_operators_are_named() -> None:
    damage = Damage({"a": 0.0001, "b": 0.1, "c": 0.0, "d": 0.001, "e": 0.01, "f": 0.00001})
    text = "the noisiest operators: b (10.0 dB), e (20.0 dB), d (30.0 dB), a (40.0 dB); "
    assert noisiest(damage) == [text + "--exclude NAME leaves one float"]
    assert noisiest(Damage({"a": 0.0})) == []


def test_refuse_slower() -> None:
    refuse_slower(Timing(2.0, 1.0, is_slower=False), [])
    with pytest.raises(
        SlowerError, match=r"3.00 ms instead of 2.00 ms.*Conv 'a' \(why\)"
    ) as caught:
        refuse_slower(Timing(2.0, 3.0, is_slower=True), [("Conv 'a'", "why"), ("Add 'b'", "")])
    assert caught.value.exit_code == 3
    assert "--allow-slower" in caught.value.hint


def test_a_model_with_more_to_do_is_slower_and_its_equal_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "CLEARLY", 1.5)

    def graph(products: int) -> Any:
        steps = " ".join(f"p{i} = MatMul({f'p{i - 1}' if i else 'x'}, w)" for i in range(products))
        text = f"g (float[64,400] x) => (float[64,400] y) {{ {steps} y = Relu(p{products - 1}) }}"
        return model(text, w=random(400, 400))

    feeds = {"x": random(64, 400)}
    assert time_models(graph(1), graph(8), feeds, 1).is_slower
    assert not time_models(graph(4), graph(4), feeds, 1).is_slower
    assert not time_models(graph(8), graph(1), feeds, 1).is_slower


def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "CLEARLY", 1.1)
    monkeypatch.setattr(timing, "_fastest", lambda *rest: (1.0, 2.0))


def test_slower_models_are_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch)
    out = path.with_name("q.onnx")
    with pytest.raises(SlowerError, match="MatMul"):
        quantize.run(Options(path, out))
    assert not out.exists()
    report = quantize.run(Options(path, out, allow_slower=True))
    assert report.timing.is_slower
    assert out.exists()
    # Other modes are not about time.
    quantize.run(Options(path, out, mode="weights", force=True))


def test_max_drop_needs_samples(path: Path) -> None:
    with pytest.raises(UsageError, match="--max-drop needs"):
        quantize.run(Options(path, path.with_name("q.onnx"), max_drop=0.1))


def test_a_good_result_passes(path: Path) -> None:
    report = quantize.run(
        Options(path, path.with_name("q.onnx"), data=path.with_name("d.npz"), max_drop=0.5)
    )
    assert report.comparison.drop is not None
    assert report.comparison.drop <= 0.5
    assert report.warnings == []


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Photos in folders named after the classes that they show; one lies in the wrong one."""
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            shade = tuple(max(v - 20 * number, 10 * number) for v in colour)
            photo(tmp_path / "photos" / name / f"{number}.png", (shade[0], shade[1], shade[2]))
    photo(tmp_path / "photos" / "blue" / "wrong.png", RED)
    text = """g (float[N,3,8,8] x) => (float[N,3] y) {
        c = Conv(x, w) p = GlobalAveragePool(c) y = Flatten(p) }"""
    graph = model(text, w=np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))
    graph.metadata_props.update(colour_model().metadata_props)
    return saved(graph, tmp_path / "m.onnx").parent


def test_folders_say_the_classes(folders: Path) -> None:
    report = quantize.run(
        Options(folders / "m.onnx", folders / "q.onnx", images=[folders / "photos"], max_drop=0.0)
    )
    assert report.comparison.accuracy is not None
    before, after = report.comparison.accuracy
    assert (before.samples, before.top1, before.top5) == (2, 1.0, 1.0)
    assert after.top1 == 1.0
    claims = io.load(folders / "q.onnx").metadata_props["q8tool.quantize"]
    assert '"top1": {"eight_bit": 1.0, "float": 1.0}' in claims


def test_the_referee_counts_true_classes() -> None:
    rows = {"a": [3.0, 0, 0], "b": [0, 4.0, 0], "c": [0, 0, 1.0]}
    text = "g (float[1,3] x) => (float[1,3] y) { y = Add(x, k) }"
    one, two = (model(text, k=f32(offset)) for offset in ([0, 0, 0], [2, 0, 0]))

    def samples() -> Iterator[Sample]:
        for name, row in rows.items():
            yield Sample(name, {"x": f32([row])})

    found = Referee(one, samples, 1, {"a": 0, "b": 0, "c": 2}).compare(two)
    assert found.accuracy == (Accuracy(3, 2 / 3, 1.0), Accuracy(3, 1 / 3, 1.0))
