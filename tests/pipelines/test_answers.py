"""Comparison of two models' answers, and the samples that it runs on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.calibrate.collect import Sample
from q8tool.engine.session import TensorInfo
from q8tool.errors import InputError
from q8tool.pipelines.answers import Comparison, Referee
from q8tool.pipelines.samples import held_back, load_arrays
from tests.graphs import Array, f32, i64, model


def classifier(offset: list[float]) -> ir.Model:
    return model("g (float[1,3] x) => (float[1,3] y) { y = Add(x, k) }", 13, k=f32(offset))


def compared(reference: ir.Model, other: ir.Model, rows: list[list[float]] | None) -> Comparison:
    def samples() -> Iterator[Sample]:
        for index, row in enumerate(rows or []):
            yield Sample(f"row {index}", {"x": f32([row])})

    return Referee(reference, None if rows is None else samples, 1).compare(other)


def test_labels_and_noise() -> None:
    rows = [[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0], [9.0, 0.0, 0.0]]
    found = compared(classifier([0, 0, 0]), classifier([2, 0, 0]), rows)
    assert found.agreement == 0.75
    # 10 log10 of (9 + 16 + 1 + 81) / (4 * 4)
    assert found.sqnr_db == pytest.approx(10 * np.log10(107 / 16))
    assert found.worst == "row 2"
    assert (found.samples, found.is_random, found.equal) == (4, False, None)
    assert [(d.sample, d.reference, d.other) for d in found.differing] == [("row 2", 2, 0)]
    assert found.drop == 0.25


def test_a_drop_of_one_in_a_hundred_is_one_per_cent() -> None:
    rows = [[3.0, 0.0, 0.0]] * 99 + [[0.0, 0.0, 1.0]]
    found = compared(classifier([0, 0, 0]), classifier([2, 0, 0]), rows)
    assert len(found.differing) == 1
    assert found.drop == 0.01


def test_rows_whose_length_follows_from_values_are_no_classes() -> None:
    """Sound is as long as what is said; two lengths are not two numbers of classes."""

    def sound(factor: float) -> ir.Model:
        return model(
            """g (float[1,3] x) => (float[1,n] y) {
                i = NonZero(x) c = Shape<start=1>(i) o = ConstantOfShape(c) p = Mul(o, k)
                y = Unsqueeze(p, zero) }""",
            15, k=f32(factor), zero=i64([0]),
        )  # fmt: skip

    found = compared(sound(1), sound(1), [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    assert found.agreement is None
    assert found.samples == 2


def test_equal_models() -> None:
    found = compared(classifier([0, 1, 0]), classifier([0, 1, 0]), [[1.0, 2.0, 3.0]])
    assert found.sqnr_db == np.inf
    assert found.to_json()["sqnr_db"] is None
    assert found.agreement == 1.0


@pytest.mark.parametrize("rows", [None, []])
def test_without_samples_the_input_is_random(rows: list[list[float]] | None) -> None:
    found = compared(classifier([0, 0, 0]), classifier([0, 0, 1]), rows)
    assert found.is_random
    assert found.samples == 2
    assert found.worst.startswith("random")


def test_classes_are_equal_or_not() -> None:
    text = "g (float[1,4] x) => (int64[4] y) { r = Add(x, k) s = Reshape(r, n) y = Cast<to=7>(s) }"
    one, two = (
        model(text, 13, k=f32(offset), n=i64([-1])) for offset in ([0, 0, 0, 0], [0, 0, 0, 5])
    )
    found = compared(one, two, [[1.0, 2.0, 3.0, 4.0]])
    assert (found.equal, found.sqnr_db, found.agreement) == (0.75, None, None)
    assert found.worst == "row 0"


@pytest.mark.parametrize(
    ("count", "back"),
    [(1, [0]), (4, [0, 1, 2, 3]), (5, [0]), (11, [0, 5, 10]), (100, list(range(0, 100, 5)))],
)
def test_every_fifth_is_held_back(count: int, back: list[int]) -> None:
    seen, kept = held_back(count)
    assert kept == back
    assert sorted({*seen, *kept}) == list(range(count))
    assert count < 5 or not set(seen) & set(kept)


def test_at_most_twenty_are_held_back() -> None:
    seen, kept = held_back(1000)
    assert (len(seen), len(kept)) == (980, 20)


def info(*shape: int | str | None) -> TensorInfo:
    return TensorInfo("x", np.dtype(np.float32), shape)


@pytest.mark.parametrize(
    ("shape", "array", "fed"),
    [
        ((1, 3), np.zeros((7, 1, 3)), (1, 3)),
        ((1, 3), np.zeros((7, 3)), (1, 3)),
        (("N", 3), np.zeros((7, 3)), (1, 3)),
        (("N", 3), np.zeros((7, 2, 3)), (2, 3)),
        ((2, 3), np.zeros((7, 2, 3)), (2, 3)),
    ],
)
def test_rows_of_arrays(
    tmp_path: Path, shape: tuple[int | str, ...], array: Array, fed: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "d.npz", anything=array)
    found = load_arrays(tmp_path / "d.npz", [info(*shape)])
    assert len(found) == 7
    samples = list(found.at([0, 6]))
    assert [sample.feeds["x"].shape for sample in samples] == [fed, fed]
    assert samples[1].name.endswith("d.npz[6]")
    assert samples[0].feeds["x"].dtype == np.float32


def test_rows_of_a_model_that_takes_batches(tmp_path: Path) -> None:
    """Seven rows are three batches of two; the last row is left over."""
    rows = np.arange(21, dtype=np.float32).reshape(7, 3)
    np.savez(tmp_path / "d.npz", x=rows)
    found = load_arrays(tmp_path / "d.npz", [info(2, 3)])
    assert len(found) == 3
    [last] = found.at([2])
    np.testing.assert_array_equal(last.feeds["x"], rows[4:6])


@pytest.mark.parametrize("shape", [(8, 3), (2, 4), (1, 4), (1, 3, 1)])
def test_rows_that_do_not_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((7, 3)))
    with pytest.raises(InputError, match="does not hold samples"):
        load_arrays(tmp_path / "d.npz", [info(*shape)])


def test_inputs_with_different_numbers_of_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((7, 1, 3)), y=np.zeros((6, 1, 3)))
    other = TensorInfo("y", np.dtype(np.float32), (1, 3))
    with pytest.raises(InputError, match="numbers of samples differ"):
        load_arrays(tmp_path / "d.npz", [info(1, 3), other])


def detector(shift: float) -> ir.Model:
    """Scores of nine places; the four best places, best first, are the only output."""
    text = """
        g (float[1,9] x) => (float[1,4] best, int64[1,4] at) {
            s = Add(x, k)  best, at = TopK(s, four)
        }
    """
    return model(text, 13, k=f32([shift, *[0] * 8]), four=i64([4]))


def test_a_choice_is_judged_by_what_it_is_made_from() -> None:
    """Two scores that change places are no wrong answer."""
    scores = [3.00, 3.01, 2.0, 2.5, 1.0, 0.0, 0.0, 0.0, 0.0]
    found = compared(detector(0), detector(0.02), [scores])
    assert found.equal is None
    # 10 log10 of the squared scores over 0.02^2
    assert found.sqnr_db == pytest.approx(
        10 * np.log10(np.square(scores).sum() / 0.02**2), abs=0.01
    )


def test_models_that_choose_otherwise_are_compared_by_their_outputs() -> None:
    other = "g (float[1,9] x) => (float[1,4] best, int64[1,4] at) { best, at = TopK(x, four) }"
    scores = [9.0, 8.0, 7.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    found = compared(detector(0), model(other, 13, four=i64([4])), [scores])
    assert (found.equal, found.sqnr_db) == (1.0, np.inf)
    turned = compared(model(other, 13, four=i64([4])), detector(0), [scores])
    assert (turned.equal, turned.sqnr_db) == (1.0, np.inf)


def test_what_the_float_model_leaves_without_a_number_says_nothing() -> None:
    """The square root of what is below zero: only the other value is compared."""
    text = "g (float[1,2] x) => (float[1,2] y) { s = Add(x, k)  y = Sqrt(s) }"
    exact, other = model(text, 13, k=f32(0)), model(text, 13, k=f32(4.41))
    found = compared(exact, other, [[-1.0, 4.0]])
    assert found.sqnr_db == pytest.approx(20 * np.log10(2 / (np.sqrt(8.41) - 2)), abs=1e-3)
    assert compared(exact, other, [[-1.0, -1.0]]).sqnr_db is None
