"""Worker: one contender in a process of its own, so that thread pools do not disturb each other.

    python -m bench.worker ENGINE MODEL THREADS FEEDS.npz

Prints "ready", then for every line "N" on stdin runs the model N times and prints the fastest run
in nanoseconds; ends at the end of its input.
"""

import sys
import time
from pathlib import Path

import numpy as np

from bench.contenders import make_runner


def main() -> None:
    """See above."""
    engine, model, threads, feeds_file = sys.argv[1:]
    with np.load(feeds_file) as file:
        feeds = {name: file[name] for name in file.files}
    run = make_runner(engine, Path(model), int(threads))
    run(feeds)
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            run(feeds)
            times.append(time.perf_counter_ns() - start)
        print(min(times), flush=True)


if __name__ == "__main__":
    main()
