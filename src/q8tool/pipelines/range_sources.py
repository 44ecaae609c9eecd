"""Ranges for quantize: what the file says, what operators say, what photos show.

--ranges FILE --------------+
--input-range, --preset ----+--> given --> known_ranges --> choose_precision
--images, --data -> collect-+
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool.calibrate.collect import Sample, collect
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges, load_ranges
from q8tool.engine.graph import read_graph
from q8tool.engine.operators import refuse_unknown_operators
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError, UsageError
from q8tool.image.load import find_photos
from q8tool.model.graph import constant, node_name
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.known_ranges import known_ranges
from q8tool.pipelines.preprocessing import (
    ChosenSpec,
    SpecOptions,
    choose_spec,
    image_input,
    stated_spec,
)
from q8tool.pipelines.progress import Progress
from q8tool.pipelines.samples import ArraySamples, PhotoSamples, held_back, load_arrays

__all__ = ["RangeOptions", "Ranging", "find_ranges"]


@dataclass(frozen=True)
class RangeOptions:
    """Where ranges may come from; see quantize.Options.

    measures   whether samples are observed
    delivered  whether also the results that only float reads
    """

    images: Sequence[Path] = ()
    data: Path | None = None
    ranges: Path | None = None
    input_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    method: Method = "minmax"
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    threads: int | None = None
    measures: bool = True
    delivered: bool = False


@dataclass(frozen=True)
class Ranging:
    """The ranges of all values that have one, and what to compare on.

    source     for people: "80 photos, minmax"
    held_back  makes a fresh iterator over the samples that calibration did not see; None: no data
    skipped    (file, reason) of photos that could not be read
    """

    ranges: Ranges
    source: str
    preprocessing: ChosenSpec | None
    held_back: Callable[[], Iterator[Sample]] | None
    skipped: list[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        spec = self.preprocessing
        return {
            "source": self.source,
            "preprocessing": None if spec is None else {**spec.spec.to_dict(), "from": spec.source},
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
        }


def find_ranges(
    model: ir.Model, options: RangeOptions, excluded: Collection[str], progress: Progress
) -> Ranging:
    """All that can be known about the ranges of a prepared float model before run time.

    excluded  names of nodes that stay float, whose ranges are not needed
    """
    if sum([bool(options.images), options.data is not None, options.ranges is not None]) > 1:
        raise UsageError("--images, --data and --ranges exclude each other", "give one of them")
    graph = read_graph(model)
    refuse_unknown_operators(graph)
    inputs = graph.inputs
    given: Ranges = dict(_checked_inputs(options.input_ranges, inputs))
    samples, spec = _samples(model, inputs, options)
    if spec is not None:
        given.setdefault(image_input(inputs).name, spec.spec.range)
    source, measured = "operators only, the rest at run time", Ranges()
    if options.ranges is not None:
        measured = _of_model(model, options.ranges)
        source = "a ranges file"
    elif samples is not None and options.measures:
        measured = _measure(model, samples, options, excluded, progress)
        count = len(held_back(len(samples))[0]) - len(_skipped(samples))
        source = f"{count} samples, {options.method}"
    ranges = known_ranges(model, {**measured, **given})
    return Ranging(
        ranges=ranges,
        source=source,
        preprocessing=spec,
        held_back=None if samples is None else lambda: samples.at(held_back(len(samples))[1]),
        skipped=_skipped(samples),
    )


def _skipped(samples: PhotoSamples | ArraySamples | None) -> list[tuple[str, str]]:
    return samples.skipped if isinstance(samples, PhotoSamples) else []


def _samples(
    model: ir.Model, inputs: Sequence[TensorInfo], options: RangeOptions
) -> tuple[PhotoSamples | ArraySamples | None, ChosenSpec | None]:
    if options.data is not None:
        return load_arrays(options.data, inputs), None
    if not options.images:
        try:
            info = image_input(inputs)
        except InputError:
            return None, None
        spec, source = stated_spec(model, info, options.preprocessing)
        return None, None if source is None else ChosenSpec(spec, source)
    paths = find_photos(options.images)
    info = image_input(inputs)
    chosen = choose_spec(model, info, options.preprocessing, paths)
    return PhotoSamples(paths, info, chosen.spec), chosen


def _measure(
    model: ir.Model,
    samples: PhotoSamples | ArraySamples,
    options: RangeOptions,
    excluded: Collection[str],
    progress: Progress,
) -> Ranges:
    """Observes what would be eight-bit if every range were known."""
    left_out = [node for node in model.graph if node_name(node) in excluded]
    choice = choose_precision(model, lambda value: True, left_out)
    names = choice.tensors(options.delivered)
    names = [name for name in names if name not in options.input_ranges]
    indices = held_back(len(samples))[0]
    done = 0

    def seen() -> None:
        nonlocal done
        done += 1
        progress("calibrating", done, len(indices))

    return collect(model, samples.at(indices), names, options.method, options.threads, seen)


def _checked_inputs(
    ranges: dict[str, tuple[float, float]], inputs: Sequence[TensorInfo]
) -> dict[str, tuple[float, float]]:
    known = [info.name for info in inputs]
    for name in ranges:
        if name not in known:
            raise UsageError(f"the model has no input '{name}'", f"its inputs: {', '.join(known)}")
    return ranges


def _of_model(model: ir.Model, path: Path) -> Ranges:
    """The ranges of a file, every name of which must be a value of the model."""
    ranges = load_ranges(path)
    graph = model.graph
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    names = {value.name for value in values if value.name and constant(value) is None}
    for name in ranges:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"{path}: the model has no tensor '{name}'",
                f"did you mean {near[0]}?" if near else "",
            )
    return ranges
