"""calibrate: photos or arrays show the range of every tensor, and a text file keeps them.

load -> prepare as quantize does -> run all samples, one observer per tensor -> ranges file
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import RangesFile, load_ranges, merge_files
from q8tool.engine.operators import refuse_unknown_operators
from q8tool.engine.read_graph import read_graph
from q8tool.errors import InputError, UsageError
from q8tool.model import io
from q8tool.model.files import check_output, write_atomically
from q8tool.model.graph import is_quantized
from q8tool.passes.choose_precision import choose_precision
from q8tool.pipelines.preprocessing import ChosenSpec, SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.range_sources import observe_samples
from q8tool.pipelines.rewriting import prepared
from q8tool.pipelines.samples import PhotoSamples, Samples, load_arrays, open_photos
from q8tool.pipelines.shared_session import SharedSession

__all__ = ["MergeOptions", "Options", "Report", "merge", "run"]


@dataclass(frozen=True)
class Options:
    """What calibrate is asked to do: one of images and data is given."""

    input_path: Path
    output_path: Path
    images: Sequence[Path] = ()
    data: Path | None = None
    calibration: Method = "weighted-mse"
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    force: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class MergeOptions:
    """Which ranges files become one."""

    parts: Sequence[Path]
    output_path: Path
    force: bool = False


@dataclass(frozen=True)
class Report:
    """What is in a ranges file that was written or is shown.

    samples   0 where the file does not say it
    skipped   (file, reason) of photos that could not be read
    warnings  what is strange about the samples
    """

    path: str
    content: RangesFile
    preprocessing: ChosenSpec | None = None
    skipped: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()

    @property
    def samples(self) -> int:
        """How many samples the ranges come from, 0 if the file does not say it."""
        return 0 if self.content.statistics is None else self.content.statistics.samples

    @property
    def method(self) -> str:
        """How ranges follow from samples, "" if the file does not say it."""
        return "" if self.content.statistics is None else self.content.statistics.method

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "path": self.path,
            "samples": self.samples,
            "calibration": self.method or None,
            "preprocess": self.content.preprocess,
            "edited": sorted(self.content.edited) if self.content.statistics else [],
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            "warnings": list(self.warnings),
            "ranges": {name: list(ends) for name, ends in sorted(self.content.ranges.items())},
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Measure the ranges of a float model and write them.

    All samples count: quantize compares on others, if it is given some. Raises UsageError for
    missing or contradicting sources and an existing output, InputError for what cannot be used.
    """
    check_output(options.output_path, force=options.force)
    if bool(options.images) == (options.data is not None):
        raise UsageError(
            "calibrate needs photos or arrays", "give either --images PATH or --data FILE"
        )
    original = io.load(options.input_path)
    if is_quantized(original):
        raise InputError(f"{options.input_path}: is quantized already", "give the float model")
    model, _ = prepared(original)
    shared = SharedSession(model, options.threads)
    graph = read_graph(model)
    refuse_unknown_operators(graph)
    samples: Samples
    spec = None
    if options.data is not None:
        samples = load_arrays(options.data, graph.inputs)
    else:
        samples, spec = open_photos(shared, graph.inputs, options.images, options.preprocessing)
    names = choose_precision(model, None).tensors(delivered=True)
    if not names:
        raise InputError(f"{options.input_path}: nothing in it could become eight-bit")
    statistics, warnings = observe_samples(
        shared, model, samples, range(len(samples)), names, options.calibration, spec,
        options.threads, progress,
    )  # fmt: skip
    rules = None if spec is None else spec.spec.to_dict()
    content = RangesFile(statistics.ranges(), statistics, rules)
    _write(content, options.output_path, options.force)
    skipped = samples.skipped if isinstance(samples, PhotoSamples) else []
    return Report(str(options.output_path), content, spec, skipped, warnings)


def merge(options: MergeOptions) -> Report:
    """Write one ranges file from several; the order of the parts does not matter.

    Raises UsageError for parts that do not go together, InputError for damaged ones.
    """
    check_output(options.output_path, force=options.force)
    content = merge_files([load_ranges(path) for path in options.parts])
    _write(content, options.output_path, options.force)
    return Report(str(options.output_path), content)


def _write(content: RangesFile, path: Path, force: bool) -> None:
    with write_atomically(path, force=force) as file:
        file.write(content.text().encode("utf-8"))
