"""Sessions that are used by many threads, made often, forked, and starved of memory."""

import gc
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from q8tool import Session
from tests.build import quantized_model
from tests.engine.cases import CODE_CASES

CASE = next(case for case in CODE_CASES if case.name == "residual")
IS_LONG = "Q8_TESTS_LONG" in os.environ
CALLERS, RUNS, CYCLES, ROUNDS = 8, 1000 if IS_LONG else 40, 60, 4
# A sanitizer keeps what was freed and reserves terabytes of addresses.
MEASURES_MEMORY = pytest.mark.skipif(
    not Path("/proc/self/statm").exists() or "Q8_TESTS_SANITIZED" in os.environ,
    reason="memory is read from /proc, and a sanitizer's is not ours",
)


def session() -> Session:
    return Session(quantized_model(CASE, "uint8"), threads=2)


def answer(used: Session) -> bytes:
    (codes,) = used.run(CASE.inputs).values()
    return codes.tobytes()


def test_eight_threads_share_a_session() -> None:
    used, wrong = session(), list[int]()
    expected = answer(used)

    def call() -> None:
        for number in range(RUNS):
            if answer(used) != expected:
                wrong.append(number)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def pages() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1])


@MEASURES_MEMORY
def test_sessions_come_and_go_without_growth() -> None:
    """The least growth of several rounds: others, such as caches that fill, end once."""
    model = quantized_model(CASE, "uint8")
    grown = []
    for _ in range(ROUNDS):
        before = pages()
        for _ in range(CYCLES):
            Session(model, threads=2).run(CASE.inputs)
        grown.append(pages() - before)
    assert min(grown) * resource.getpagesize() <= 4096 * CYCLES


@MEASURES_MEMORY
@pytest.mark.skipif(not IS_LONG, reason="make test-long has the time")
def test_ten_thousand_sessions_take_no_more_than_the_first_thousand() -> None:
    model = quantized_model(CASE, "uint8")
    counts = []
    for cycles in (1000, 10_000):
        for _ in range(cycles):
            Session(model, threads=2).run(CASE.inputs)
        counts.append(pages())
    assert counts[1] <= 1.01 * counts[0]


def child_of_fork(used: Session, expected: bytes) -> None:
    os._exit(0 if answer(used) == expected else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_uses_the_session_of_its_parent() -> None:
    used = session()
    expected = answer(used)
    process = multiprocessing.get_context("fork").Process(
        target=child_of_fork, args=(used, expected)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert answer(used) == expected


STARVED = """
import resource, sys
import numpy as np
from q8tool import Session
from q8tool.cli import report
import q8tool.native, q8tool.engine.session, q8tool.engine.source, q8tool.model.io
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (300 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Session(sys.argv[1], threads=1).run({"x": np.zeros((1, 1, 1024, 1024), np.float32)})
except Exception as error:
    sys.exit(report.failure(error))
"""


@MEASURES_MEMORY
def test_too_little_memory_is_an_error(tmp_path: Path) -> None:
    """The result of the convolution alone has 1 GB."""
    weights = np.ones((256, 1, 1, 1), np.float32)
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"])]
    sizes = {"x": [1, 1, 1024, 1024], "y": [1, 256, 1024, 1024]}
    x, y = (onnx.helper.make_tensor_value_info(n, 1, dims) for n, dims in sizes.items())
    graph = onnx.helper.make_graph(
        nodes, "large", [x], [y], [onnx.numpy_helper.from_array(weights, "w")]
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=8,
              opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "m.onnx")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tmp_path / "m.onnx")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert "memory" in done.stderr
    assert "bug" not in done.stderr
