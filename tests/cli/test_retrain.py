"""q8tool retrain: the flags of 2016, what is printed, the exit codes."""

import json
from pathlib import Path

import pytest

from q8tool.cli import main
from tests.train.photos import colour_folders


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    photos = colour_folders(tmp_path / "photos", {"red": 24, "green": 24, "blue": 24})
    (photos / "red" / "broken.jpg").write_text("no photo")
    return [
        "retrain", "--image_dir", str(photos), "--output_graph", str(tmp_path / "own.onnx"),
        "--bottleneck_dir", str(tmp_path / "cache"),
    ]  # fmt: skip


def test_the_embedded_network_needs_no_other_file(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "broken.jpg: not a photo" in captured.err
    lines = {line.split()[0]: line for line in captured.out.splitlines() if line.strip()}
    assert sum(map(int, lines["red"].split()[1:4])) == 24
    assert "test photos right" in lines["eight-bit"]
    assert "test photos right" in lines["float"]
    assert main(["label-image", str(tmp_path / "photos" / "blue" / "1.png"), "--graph",
                 str(tmp_path / "own.onnx"), "--expect", "blue"]) == 0  # fmt: skip
    # A second time the outputs are there already.
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_flags_of_2016_and_json(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        "--how_many_training_steps 30 --learning_rate 0.5 --train_batch_size 10 "
        "--testing_percentage 20 --validation_percentage 15 --eval_step_interval 5 "
        "--final_tensor_name answer --flip_left_right --random_brightness 10 --test_batch_size 5 "
        f"--print_misclassified_test_images --output_labels {tmp_path}/names.txt "
        f"--summaries_dir {tmp_path}/logs --hidden 0 --int8 --json"
    )
    assert main([*words, *more.split()]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["models"][0]["test"]["photos"] == 5
    assert (tmp_path / "names.txt").read_text() == "blue\ngreen\nred\n"
    assert (tmp_path / "logs" / "run-001" / "training.jsonl").stat().st_size
    assert not (tmp_path / "own.float.onnx").exists()


def test_exit_codes(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--strict"]) == 5
    assert "broken.jpg" in capsys.readouterr().err
    assert main([*words, "--base", "http://example.org/x.onnx"]) == 2
    assert main([*words, "--base", str(tmp_path / "absent.onnx")]) == 5
    assert main(["retrain", "--image-dir", str(tmp_path / "absent")]) == 5
    assert main([*words, "--feature", "nothing"]) == 2
    assert main([*words, "--testing-percentage", "60", "--validation-percentage", "60"]) == 5
    capsys.readouterr()


def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "--help"]) == 0
    text = capsys.readouterr().out
    assert "q8tool retrain --image-dir flowers/" in text
    assert max(map(len, text.splitlines())) <= 80
