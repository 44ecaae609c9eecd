"""Runs again what tests/recorder.py kept, here, and compares the bytes.

    python -m tests.replay FOLDER [--isa NAME] [--threads N]

Codes and sums must be the same bytes. Floats that float kernels computed (a sigmoid, a mean) may
differ in their last places from one instruction set to another; they are counted. Needs nothing but
q8tool, so that an emulated machine has little to do. Exit code 1 if anything differs by more.
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
# Of the largest value.
LAST_PLACE = 2.0**-15


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
                is_close = is_last_place(wanted, result)
                counts["differing in last places" if is_close else "DIFFERENT"] += 1
                if not is_close:
                    print(f"{note.stem} {described['test']}: {name} differs")
    isa = arguments.isa or native.isa_active()
    print(f"{isa}: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    return int(counts["DIFFERENT"] > 0 or not counts["models"])


def is_same(wanted: Array, result: Array) -> bool:
    """The same type, shape and values; NaN is like NaN."""
    return wanted.dtype == result.dtype and np.array_equal(
        wanted, result, equal_nan=wanted.dtype.kind == "f"
    )


def is_last_place(wanted: Array, result: Array) -> bool:
    """Floats as near as float kernels promise, or one of 65,536 codes between them."""
    if wanted.dtype != result.dtype or wanted.shape != result.shape or wanted.dtype.kind != "f":
        return False
    largest = float(np.abs(wanted).max(initial=0))
    return np.allclose(wanted, result, rtol=0, atol=LAST_PLACE * largest, equal_nan=True)


if __name__ == "__main__":
    sys.exit(main())
