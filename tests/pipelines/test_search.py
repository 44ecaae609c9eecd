"""Search: the fewest float layers, with any number of interruptions in between."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from q8tool.errors import ExpectationError, UsageError
from q8tool.model import io
from q8tool.model.graph import op_counts
from q8tool.pipelines import quantize
from q8tool.pipelines.answers import Comparison
from q8tool.pipelines.fallback import FOR_MAX_DROP, Fallback
from q8tool.pipelines.quantize import Options
from q8tool.pipelines.search import Cost, Found, Task, search
from tests.graphs import model, random
from tests.pipelines.classifiers import saved

LAYERS = [f"layer{i}" for i in range(20)]


class Model:
    """Layers that cost what `costs` says: the drop is the sum of what is in eight bits."""

    def __init__(self, costs: dict[str, float], stops_after: int = 10**9) -> None:
        self.costs = costs
        self.trials = 0
        self.ranked = 0
        self.stops_after = stops_after

    def try_out(self, kept: frozenset[str]) -> Comparison:
        self.trials += 1
        if self.trials + self.ranked > self.stops_after:
            raise KeyboardInterrupt
        drop = sum(self.costs.get(name, 0.0) for name in LAYERS if name not in kept)
        agreement = max(0.0, 1.0 - drop)
        return Comparison(100, False, agreement, agreement, 40 - drop, None, "worst")

    def rank_one(self, name: str) -> float:
        self.ranked += 1
        if self.trials + self.ranked > self.stops_after:
            raise KeyboardInterrupt
        return -self.costs.get(name, 0.0)


def searched(found: Model, state: Path, **changes: Any) -> Found:
    values: dict[str, Any] = {
        "layers": LAYERS, "noise": {}, "try_out": found.try_out, "rank_one": found.rank_one,
        "max_drop": 0.01, "fingerprint": "f", "state": state, "seconds": 60.0,
    }  # fmt: skip
    return search(Task(**{**values, **changes}))


COSTS = {"layer3": 0.3, "layer11": 0.2, "layer17": 0.1, "layer5": 0.004}


def test_the_fewest_layers_are_found(tmp_path: Path) -> None:
    costly = Model(COSTS)
    found = searched(costly, tmp_path / "s")
    assert found.layers == frozenset({"layer3", "layer11", "layer17"})
    assert found.ranking[:4] == ["layer3", "layer11", "layer17", "layer5"]
    assert costly.trials <= 1 + 5 + 3
    assert found.stopped == ""
    assert not (tmp_path / "s").exists()


def test_costs_are_those_of_the_best_trials(tmp_path: Path) -> None:
    found = searched(Model(COSTS), tmp_path / "s")
    # Halving tries 19, 10, 5, 3, 2 layers; then each of the three goes back alone. No trial with
    # more than three layers is better by more than layer5's 0.004.
    costs = {cost.float_layers: cost.drop for cost in found.costs}
    assert list(costs) == sorted(costs)
    assert costs[2] == pytest.approx(0.104)
    assert costs[3] == pytest.approx(0.004)
    assert costs[5] == pytest.approx(0.0)
    assert set(costs) == {2, 3, 5}


def test_much_that_stays_float_is_a_worry() -> None:
    none = Comparison(100, False, 1.0, 1.0, 40.0, None, "worst")
    costs = [Cost(0, 0.08), Cost(4, 0.0301), Cost(7, 0.01)]
    few = Fallback(frozenset("abcde"), 10, none, None, costs)
    many = Fallback(frozenset("abcdefg"), 10, none, None, costs)
    assert few.worries() == []
    assert "7 of 10 layers" in many.worries()[0]
    # Rounded up: 3 % would not do.
    assert many.worries()[0].endswith("--max-drop 3.1% needs 4")


def test_a_layer_that_was_ranked_too_high_goes_back(tmp_path: Path) -> None:
    costly = Model(COSTS)

    def misled(name: str) -> float:
        return -9.0 if name == "layer0" else costly.rank_one(name)

    found = searched(costly, tmp_path / "s", rank_one=misled)
    assert found.layers == frozenset({"layer3", "layer11", "layer17"})


@pytest.mark.parametrize("stops_after", [1, 10, 20, 21, 23, 25])
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, stops_after: int) -> None:
    state = tmp_path / "s"
    whole = Model(COSTS)
    expected = searched(whole, tmp_path / "other")
    killed = Model(COSTS, stops_after)
    try:
        first = searched(killed, state)
        assert first.layers is not None
        assert first.stopped == "interrupted"
    except KeyboardInterrupt:
        pass
    resumed = Model(COSTS)
    found = searched(resumed, state)
    assert found.layers == expected.layers
    assert killed.trials + killed.ranked + resumed.trials + resumed.ranked <= (
        whole.trials + whole.ranked + 1
    )
    assert not state.exists()


def test_the_time_limit_gives_the_best_so_far(tmp_path: Path) -> None:
    state = tmp_path / "s"
    found = searched(Model(COSTS), state, seconds=-1.0)
    assert (found.layers, found.stopped) == (None, "time limit")
    killed = Model(COSTS, 21)
    assert searched(killed, state).layers == frozenset(
        sorted(LAYERS, key=lambda n: -COSTS.get(n, 0))[:19]
    )
    late = searched(Model(COSTS), state, seconds=-1.0)
    assert late.stopped == "time limit"
    assert late.layers is not None
    assert late.resumed == 1
    assert state.exists()


def test_slow_ranking_falls_back_on_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 2))
    monkeypatch.setattr("q8tool.pipelines.search.time.monotonic", lambda: float(next(clock)))
    costly = Model(COSTS)
    found = searched(costly, tmp_path / "s", noise=COSTS, seconds=100.0)
    assert found.layers == frozenset({"layer3", "layer11", "layer17"})
    assert costly.ranked == 1


def test_what_a_short_ranking_does_not_find_is_found_by_going_on(tmp_path: Path) -> None:
    """Once the state was deleted, and with it all that had been ranked."""
    state, layers = tmp_path / "s", LAYERS[:2]
    hard = Model({"layer0": 0.5, "layer1": 0.001})
    with pytest.MonkeyPatch.context() as patch:
        clock = iter(range(0, 10**6, 2))
        patch.setattr("q8tool.pipelines.search.time.monotonic", lambda: float(next(clock)))
        wrong = {"layer1": 1.0}
        found = searched(hard, state, layers=layers, noise=wrong, seconds=5.0)
    assert (found.layers, found.stopped) == (None, "time limit")
    assert state.exists()
    found = searched(hard, state, layers=layers, noise=wrong)
    assert found.layers == frozenset({"layer0"})
    assert hard.ranked == 2
    assert not state.exists()


def test_nothing_is_good_enough(tmp_path: Path) -> None:
    assert searched(Model(dict.fromkeys(LAYERS, 0.5)), tmp_path / "s").layers is None
    assert not list(tmp_path.iterdir())


def test_a_state_of_something_else(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        searched(Model(COSTS, 5), state)
    assert len(json.loads(state.read_text())["ranks"]) == 5
    other = Model(COSTS)
    searched(other, state, fingerprint="other")
    assert other.ranked == 20
    ours = '{"format": "q8tool.search", "fingerprint": "f", '
    damaged = [
        f'{ours}"ranks": [1], "tried": []}}',
        f'{ours}"ranks": {{}}, "tried": [1]}}',
        f'{ours}"ranks": {{}}, "tried": [{{"float": ["layer1"], "good": true}}]}}',
    ]
    for text in ("{", "[]", '{"format": "mine"}', *damaged):
        state.write_text(text)
        with pytest.raises(UsageError, match="no state of a search"):
            searched(Model(COSTS), state)
        assert state.read_text() == text


TEXT = """g (float[N,16] x) => (float[N,4] y) {
    a = MatMul(x, w0) r = Abs(a) b = MatMul(r, w1) s = Relu(b) c = MatMul(s, w2) t = Relu(c)
    y = MatMul(t, w3) }"""


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    """One layer's input has an outlier, which no equalization mends behind Abs."""
    spread = np.ones(16, np.float32)
    spread[0] = 3000.0
    weights = {f"w{i}": random(16, 16, seed=i) for i in range(3)}
    weights["w0"] = weights["w0"] * spread
    weights["w1"] = weights["w1"] / spread[:, None]
    graph = model(TEXT, 13, **weights, w3=random(16, 4))
    np.savez(tmp_path / "d.npz", x=random(60, 16))
    return saved(graph, tmp_path / "m.onnx")


def test_quantize_keeps_the_layer_that_hurts_float(hard: Path) -> None:
    out = hard.with_name("q.onnx")
    plain = quantize.run(Options(hard, out, data=hard.with_name("d.npz")))
    assert plain.comparison.drop is not None
    assert plain.comparison.drop > 0.1
    assert "the noisiest operators: " in plain.warnings[-1]
    report = quantize.run(
        Options(hard, out, data=hard.with_name("d.npz"), max_drop=0.1, force=True)
    )
    assert report.fallback is not None
    assert report.fallback.comparison.drop is not None
    assert report.fallback.comparison.drop <= 0.1
    assert len(report.fallback.layers) <= 2
    assert report.fallback.costs[0].float_layers == 0
    assert report.fallback.costs[0].drop > 0.1
    assert [reason for _, reason in report.kept].count(FOR_MAX_DROP) == len(report.fallback.layers)
    assert op_counts(io.load(out))["MatMul"] == 4
    assert sorted(hard.parent.iterdir()) == sorted([hard, out, hard.with_name("d.npz")])


def test_what_cannot_be_reached_writes_nothing(tmp_path: Path) -> None:
    """Of two classes that are nearly the same the noise decides."""
    near = random(16, 1).repeat(2, axis=1) + random(16, 2) * 1e-4
    path = saved(
        model("g (float[N,16] x) => (float[N,2] y) { y = MatMul(x, w) }", w=near),
        tmp_path / "m.onnx",
    )
    np.savez(tmp_path / "d.npz", x=random(60, 16))
    out = tmp_path / "q.onnx"
    with pytest.raises(ExpectationError, match=r"not at most 0.00% after .* trials"):
        quantize.run(Options(path, out, data=tmp_path / "d.npz", max_drop=0.0))
    assert not out.exists()
