"""Worker of bench: one contender in a process of its own, so that thread pools do not disturb
each other.

    python -m q8tool.pipelines.bench_worker ENGINE MODEL THREADS FEEDS.npz

Writes "ready SECONDS MEGABYTES" (what loading took, imports left aside, and what the process held
at its peak after the first run), or "failed REASON"; then for every line "N" on stdin runs the
model N times or more and writes the fastest run in nanoseconds; ends at the end of its input.

A round takes 60 ms at least: threads of whoever ran before look for work for a while (onnxruntime's
for 30 ms), which takes a core from who comes next, and a thread that slept begins slowly.
"""

import importlib
import resource
import sys
import time
from pathlib import Path

import numpy as np

from q8tool.pipelines.contenders import make_runner

__all__ = ["main"]

ROUND_NANOSECONDS = 60_000_000


def main() -> None:
    """See above."""
    engine, model, threads, feeds_file = sys.argv[1:]
    with np.load(feeds_file) as file:
        feeds = {name: file[name] for name in file.files}
    try:
        importlib.import_module("q8tool.engine.session" if engine == "q8tool" else engine)
        start = time.perf_counter()
        run = make_runner(engine, Path(model), int(threads))
        seconds = time.perf_counter() - start
        run(feeds)
    except Exception as error:
        _say("failed " + " ".join(str(error).split()))
        return
    _say(f"ready {seconds} {_peak_megabytes()}")
    for line in sys.stdin:
        times: list[int] = []
        while len(times) < int(line) or sum(times) < ROUND_NANOSECONDS:
            begin = time.perf_counter_ns()
            run(feeds)
            times.append(time.perf_counter_ns() - begin)
        _say(str(min(times)))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _peak_megabytes() -> float:
    """Of this process alone: Linux counts in getrusage what its parent held when it began."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
