"""make bench: us, onnxruntime and OpenVINO on the models of Q8_DATA, each with its own best file.

    make bench                                   the models of Q8_DATA
    make bench ARGS="--model resnet50.onnx"      others

What `q8tool bench` does for any files, with the eight-bit files that the others make themselves.
Only ratios of one run of this program mean anything.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.prepare import Files, data_dir, prepare
from q8tool.pipelines.bench import Entry, Row, feeds_of, measure

DEFAULT_MODELS = ("mobilenet_v1_0.75_224", "mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224")


def entries(files: Files) -> list[Entry]:
    """The columns: ours first."""
    found = [
        Entry("q8tool int8", "q8tool", files.ours),
        Entry("q8tool no data", "q8tool", files.without_data),
        Entry("q8tool float", "q8tool", files.float_model),
        Entry("ort int8", "onnxruntime", files.onnxruntime),
        Entry("ort float", "onnxruntime", files.float_model),
        Entry("ort, our file", "onnxruntime", files.ours),
        Entry("openvino, our file", "openvino", files.ours),
        Entry("openvino float", "openvino", files.float_model),
    ]
    if files.nncf is not None:
        found.append(Entry("openvino, nncf's file", "openvino", files.nncf))
    return found


def table(rows: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Markdown: our int8 time, and everybody's time divided by it."""
    titles = list(dict.fromkeys(row.title for _, found in rows for row in found))
    head = ["model", "threads", "q8tool int8 ms", *titles[1:]]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for model, found in rows:
        ratios = {row.title: row.ratio for row in found}
        cells = [_ratio(ratios.get(title)) for title in titles[1:]]
        lines.append(" | ".join([model, str(found[0].threads), _ms(found[0]), *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _ms(row: Row) -> str:
    return "-" if row.milliseconds is None else f"{row.milliseconds:.2f}"


def main() -> None:
    """Prepares, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", type=Path, help="a float model; repeatable")
    parser.add_argument("--preset", default="mobilenet", help="how pixels become its input")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=1, help="where the models leave it open")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    models = arguments.model or [data_dir() / "models" / f"{n}.onnx" for n in DEFAULT_MODELS]
    rows = []
    for model in models:
        files = prepare(model, arguments.cache, arguments.preset)
        feeds = feeds_of(model, arguments.batch)
        for threads in arguments.threads:
            found = measure(entries(files), threads, arguments.rounds, feeds)
            rows.append((files.name, found))
            for row in found:
                print(f"{files.name}: {row}", file=sys.stderr)
    print(f"{os.cpu_count()} processors; time of one run divided by q8tool int8's\n")
    print(table(rows))


if __name__ == "__main__":
    main()
