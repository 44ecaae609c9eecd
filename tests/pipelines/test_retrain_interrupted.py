"""retrain killed, run twice at once, on a full disk: the cache stays good, the result the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from tests.train.photos import colour_folders

KILLS = 10


def command(tmp_path: Path, name: str, base: Path, cache: Path) -> list[str]:
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    return [
        sys.executable, "-m", "q8tool", "retrain", "--image-dir", str(tmp_path / "photos"),
        "--base", str(base), "--output-graph", str(out / "retrained.onnx"), "--force",
        "--bottleneck-dir", str(cache), "--threads", "2", "--json",
    ]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return colour_folders(tmp_path / "photos", {"red": 40, "green": 40, "blue": 40})


@pytest.mark.slow
def test_killed_at_ten_moments(tmp_path: Path, photos: Path, base: Path) -> None:
    start = time.perf_counter()
    subprocess.run(
        command(tmp_path, "whole", base, tmp_path / "one"), check=True, capture_output=True
    )
    seconds = time.perf_counter() - start
    moments = random.Random(8)
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(tmp_path, "killed", base, tmp_path / "two"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0.3, 1.0) * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    words = command(tmp_path, "killed", base, tmp_path / "two")
    last = subprocess.run(words, check=True, capture_output=True, text=True)
    assert last.stderr == ""
    assert files(tmp_path / "killed").keys() >= files(tmp_path / "whole").keys()
    for name, content in files(tmp_path / "whole").items():
        if name != "report.json":  # it names the folder that it is in
            assert files(tmp_path / "killed")[name] == content, name


def test_two_at_once(tmp_path: Path, photos: Path, base: Path) -> None:
    running = [
        subprocess.Popen(
            command(tmp_path, name, base, tmp_path / "cache"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    said = [process.communicate()[1] for process in running]
    assert said == [b"", b""]
    assert [process.returncode for process in running] == [0, 0]
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert {k: v for k, v in one.items() if k != "report.json"} == {
        k: v for k, v in two.items() if k != "report.json"
    }


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, photos: Path, base: Path, small_disk: Path) -> None:
    words = command(tmp_path, "out", base, small_disk)
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 2
    assert "the disk is full; what was stored before is kept" in found.stderr
    assert "hint: make room" in found.stderr
    assert not files(tmp_path / "out")
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "damaged" not in again.stderr


def test_the_output_disk_is_full(
    tmp_path: Path,
    photos: Path,
    base: Path,
    small_disk: Path,
) -> None:
    (small_disk / "filler").write_bytes(b"x" * 90_000)
    words = command(tmp_path, "out", base, tmp_path / "cache")
    words[words.index("--output-graph") + 1] = str(small_disk / "retrained.onnx")
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 2
    assert "no space left on device" in found.stderr
    # What is there is whole: the report, and perhaps one of the models.
    for path in small_disk.glob("*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
    assert not list(small_disk.glob(".*"))
