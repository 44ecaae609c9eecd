"""Runs again what tests/recorder.py kept, here, and compares the bytes.

    python -m tests.replay FOLDER [--isa NAME] [--threads N]

All results must be the same values, to the last bit: codes, sums, and floats that float kernels
computed (a sigmoid, a mean). Needs nothing but q8tool, so that an emulated machine has little to
do. Exit code 1 if anything differs.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from q8tool import Session, native

Array = npt.NDArray[Any]


def main() -> int:
    """Compare all models of the folder; one line per difference, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--isa")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    for note in sorted(arguments.folder.glob("*.json")):
        described = json.loads(note.read_text())
        with np.load(note.with_suffix(".npz")) as kept:
            arrays = dict(kept)
        feeds = {name: arrays[f"feed{i}"] for i, name in enumerate(described["feeds"])}
        model = onnx.load(note.with_suffix(".onnx"))
        session = Session(model, arguments.threads, arguments.isa, observe=described["observe"])
        results = session.run(feeds, described["results"])
        counts["models"] += 1
        for number, (name, result) in enumerate(results.items()):
            counts[f"{result.dtype} outputs"] += 1
            wanted = arrays[f"result{number}"]
            if not is_same(wanted, result):
                counts["DIFFERENT"] += 1
                print(f"{note.stem} {described['test']}: {name} differs")
    isa = arguments.isa or native.isa_active()
    print(f"{isa}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    return int(counts["DIFFERENT"] > 0 or not counts["models"])


def is_same(wanted: Array, result: Array) -> bool:
    """The same type, shape and values; NaN is like NaN."""
    return wanted.dtype == result.dtype and np.array_equal(
        wanted, result, equal_nan=wanted.dtype.kind == "f"
    )


if __name__ == "__main__":
    sys.exit(main())
