"""The ranges file: what is written reads back to the bit; what is damaged is named."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.calibrate.observers import METHODS, Method, make_observer
from q8tool.calibrate.ranges import Ranges, RangesFile, load_ranges, merge_files, merge_ranges
from q8tool.calibrate.statistics import Statistics
from q8tool.errors import InputError, UsageError
from tests.graphs import f32

finite = st.floats(allow_nan=False, allow_infinity=False)
HEAD = '{"format": "q8tool.ranges", "version": 1, "ranges": '


@given(st.dictionaries(st.text(min_size=1), st.tuples(finite, finite).map(sorted).map(tuple)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, ranges: Ranges) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges.json"
    path.write_text(RangesFile(ranges).text(), encoding="utf-8")
    assert load_ranges(path).ranges == ranges
    assert load_ranges(path).text() == RangesFile(ranges).text()


def test_the_text_is_sorted_and_one_tensor_is_one_line() -> None:
    assert RangesFile({"b": (0.0, 5.93), "a": (-1.0, 1.0)}).text() == (
        '{\n  "format": "q8tool.ranges",\n  "version": 1,\n  "ranges": {\n'
        '    "a": [-1.0, 1.0],\n    "b": [0.0, 5.93]\n  }\n}\n'
    )


def test_whole_numbers_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(HEAD + '{"x": [-1, 2.5]}}')
    assert load_ranges(path).ranges == {"x": (-1.0, 2.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", ":1: not JSON"),
        ('{\n"format": oops}', ":2: not JSON"),
        ("[]", "not a ranges file"),
        ("{}", "not a ranges file"),
        ('{"format": "other"}', "not a ranges file"),
        ('{"format": "q8tool.ranges", "version": 2, "ranges": {}}', "version 2"),
        ('{"format": "q8tool.ranges", "version": 1}', '"ranges" must be an object'),
        (HEAD + "[]}", '"ranges" must be an object'),
        (HEAD + '{"conv1": [1]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": [1, 2, 3]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": 5}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": null}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": ["0", "1"]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": [true, 2]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": [2, 1]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": [NaN, 1]}}', "tensor 'conv1'"),
        (HEAD + '{"conv1": [0, Infinity]}}', "tensor 'conv1'"),
        (HEAD + '{}, "preprocess": 3}', '"preprocess" must be an object'),
        (HEAD + '{}, "statistics": 3}', "statistics are damaged"),
        (HEAD + '{}, "statistics": {"method": "best"}}', "statistics are damaged"),
        (HEAD + '{}, "statistics": {"method": "mse", "samples": 0}}', "0 samples"),
        (
            HEAD + '{}, "statistics": {"method": "mse", "samples": 1, "tensors": {"c": {}}}}',
            "tensor 'c'",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"damaged\.json") as caught:
        load_ranges(path)
    assert message in caught.value.message


@pytest.mark.parametrize("kind", ["missing", "folder", "bytes"])
def test_what_cannot_be_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    if kind == "bytes":
        path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=kind):
        load_ranges(path)


def test_merging_takes_the_widest_ends() -> None:
    parts: list[Ranges] = [{"a": (0, 1), "b": (-1, 1)}, {"a": (-2, 0.5)}, {"c": (3, 4)}]
    assert merge_ranges(parts) == {"a": (-2, 1), "b": (-1, 1), "c": (3, 4)}
    assert merge_ranges([]) == {}


def measured(method: Method, *values: float) -> RangesFile:
    observer = make_observer(method)
    observer.update(f32(values))
    statistics = Statistics(method, 1, {"a": observer})
    return RangesFile(statistics.ranges(), statistics)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_with_statistics_reads_back(tmp_path: Path, method: Method) -> None:
    path = tmp_path / "r.json"
    path.write_text(measured(method, -1.5, 0, 2).text())
    assert load_ranges(path).text() == path.read_text()
    assert load_ranges(path).edited == {}


def test_merging_files_keeps_what_was_edited(tmp_path: Path) -> None:
    parts = [measured("minmax", -1, 1), measured("minmax", 0, 3)]
    assert merge_files(parts).ranges == {"a": (-1, 3)}
    assert merge_files(parts).text() == merge_files(parts[::-1]).text()
    by_hand = RangesFile({"a": (-2, 2), "b": (0, 1)}, parts[0].statistics)
    assert by_hand.edited == {"a": (-2, 2), "b": (0, 1)}
    merged = merge_files([by_hand, parts[1]])
    assert merged.ranges == {"a": (-2, 2), "b": (0, 1)}
    assert merged.statistics is not None
    assert merged.statistics.samples == 2
    assert merged.statistics.ranges() == {"a": (-1, 3)}


def test_what_does_not_go_together_is_not_merged() -> None:
    with pytest.raises(UsageError, match="minmax, mse"):
        merge_files([measured("mse", 1), measured("minmax", 1)])
    one, other = (RangesFile({}, None, {"mean": [mean]}) for mean in (0, 1))
    with pytest.raises(UsageError, match="preprocessed"):
        merge_files([one, other])
