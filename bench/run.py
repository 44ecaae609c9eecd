"""bench: us, onnxruntime and OpenVINO on the same models, interleaved, and the ratios.

    make bench                                   the models of Q8_DATA
    make bench ARGS="--model resnet50.onnx"      others

Every contender is a process of its own. Rounds go through all of them in turn, a few runs each, so
that a slow moment of the machine hits all alike; a contender's figure is its median round. Only
ratios of one run of this program mean anything.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.prepare import Files, data_dir, prepare
from q8tool.model import io
from q8tool.pipelines.agreement import random_feeds

RUNS_PER_ROUND = 5
DEFAULT_MODELS = ("mobilenet_v1_0.75_224", "mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224")


@dataclass(frozen=True)
class Entry:
    """One column of the table."""

    title: str
    engine: str
    model: Path


class Worker:
    """A contender's process."""

    def __init__(self, entry: Entry, threads: int, feeds: Path) -> None:
        command = [sys.executable, "-m", "bench.worker", entry.engine, str(entry.model)]
        self.title = entry.title
        self._process = subprocess.Popen(
            [*command, str(threads), str(feeds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.milliseconds: list[float] = []

    def wait_ready(self) -> bool:
        """False if the engine cannot run the model."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() == "ready"

    def round(self) -> None:
        """One round of runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{RUNS_PER_ROUND}\n")
        self._process.stdin.flush()
        self.milliseconds.append(int(self._process.stdout.readline()) / 1e6)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def entries(files: Files) -> list[Entry]:
    """The columns: ours first."""
    return [
        Entry("q8tool int8", "q8tool", files.ours),
        Entry("q8tool float", "q8tool", files.float_model),
        Entry("ort int8", "onnxruntime", files.onnxruntime),
        Entry("ort float", "onnxruntime", files.float_model),
        Entry("ort, our file", "onnxruntime", files.ours),
        Entry("openvino int8", "openvino", files.ours),
        Entry("openvino float", "openvino", files.float_model),
    ]


def measure(files: Files, threads: int, rounds: int, feeds: Path) -> dict[str, float]:
    """Title -> milliseconds of one run; without those that cannot run the model."""
    workers = [Worker(entry, threads, feeds) for entry in entries(files)]
    running = [worker for worker in workers if worker.wait_ready()]
    for _ in range(rounds):
        for worker in running:
            worker.round()
    for worker in workers:
        worker.close()
    return {worker.title: statistics.median(worker.milliseconds) for worker in running}


def table(rows: list[tuple[str, int, dict[str, float]]]) -> str:
    """Markdown: our int8 time, and everybody's time divided by it."""
    titles = list(dict.fromkeys(title for _, _, row in rows for title in row))
    head = ["model", "threads", "q8tool int8 ms", *titles[1:]]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for model, threads, row in rows:
        ours = row[titles[0]]
        cells = [f"{row[title] / ours:.2f}x" if title in row else "-" for title in titles[1:]]
        lines.append(" | ".join([model, str(threads), f"{ours:.2f}", *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Prepares, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", type=Path, help="a float model; repeatable")
    parser.add_argument("--preset", default="mobilenet", help="how pixels become its input")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    models = arguments.model or [data_dir() / "models" / f"{n}.onnx" for n in DEFAULT_MODELS]
    rows = []
    for model in models:
        files = prepare(model, arguments.cache, arguments.preset)
        with tempfile.TemporaryDirectory() as folder:
            feeds = Path(folder) / "feeds.npz"
            np.savez(feeds, allow_pickle=False, **random_feeds(io.load(model)))
            for threads in arguments.threads:
                row = measure(files, threads, arguments.rounds, feeds)
                rows.append((files.name, threads, row))
                print(f"{files.name}, {threads} threads: {row}", file=sys.stderr)
    print(f"{os.cpu_count()} processors; time of one run divided by q8tool int8's\n")
    print(table(rows))


if __name__ == "__main__":
    main()
