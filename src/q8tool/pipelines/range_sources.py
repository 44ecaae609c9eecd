"""Ranges for quantize: what the file says, what operators say, what photos show.

--ranges FILE --------------------------+
--input-range, --preset ----------------+--> given --> known_ranges --> choose_precision
--images, --data -> equalize -> collect-+
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import SampleStream, collect
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges, RangesFile, load_ranges
from q8tool.calibrate.statistics import Statistics
from q8tool.engine.operators import refuse_unknown_operators
from q8tool.engine.read_graph import read_graph
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError, UsageError
from q8tool.image.spec import Spec
from q8tool.model import metadata
from q8tool.model.graph import constant
from q8tool.numerics.level_range import level_range
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.known_ranges import known_ranges
from q8tool.pipelines.attention_ranges import attention_ranges
from q8tool.pipelines.equalizing import Equalized, equalized
from q8tool.pipelines.preprocessing import (
    PICTURES,
    ChosenSpec,
    SpecOptions,
    image_input,
    stated_spec,
)
from q8tool.pipelines.progress import Progress
from q8tool.pipelines.refitting import Refitting, bytes_between, refitting_with
from q8tool.pipelines.samples import PhotoSamples, Samples, held_back, load_arrays, open_photos
from q8tool.pipelines.sanity import Doubts, doubts_about_pixels
from q8tool.pipelines.shared_session import SharedSession

__all__ = ["RangeOptions", "Ranging", "find_ranges", "observe_samples"]

# Bytes of an operator's values from which compiling again takes little beside a run.
LARGE_VALUES = 32 << 20


@dataclass(frozen=True)
class RangeOptions:
    """Where ranges may come from; see quantize.Options.

    measures   whether samples are observed
    delivered  whether also the results that only float reads
    equalizes  whether the model may be replaced by one with channels equalized, which is observed;
               not where a file gives ranges: those are of the model as it is
    known      ranges that need not be measured, by value name
    """

    images: Sequence[Path] = ()
    data: Path | None = None
    ranges: Path | None = None
    input_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    method: Method = "weighted-mse"
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    threads: int | None = None
    measures: bool = True
    delivered: bool = False
    equalizes: bool = False
    known: Ranges = field(default_factory=dict)


@dataclass(frozen=True)
class Ranging:
    """The ranges of all values that have one, and what to compare on.

    source     for people: "80 samples, weighted-mse"
    held_back  makes a fresh iterator over the samples that calibration did not see; None: no data
    samples    all of them; None: no data
    refitting  with which of them weights can be fitted; None: no data, or too large a model
    even       the model that the ranges are of
    skipped    (file, reason) of photos that could not be read
    warnings   what is strange about the samples
    """

    ranges: Ranges
    errors: Mapping[str, Callable[[float, float], float]]
    source: str
    preprocessing: ChosenSpec | None
    held_back: SampleStream | None
    samples: Samples | None
    refitting: Refitting | None
    even: Equalized
    skipped: list[tuple[str, str]]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        spec = self.preprocessing
        return {
            "source": self.source,
            "preprocessing": None if spec is None else {**spec.spec.to_dict(), "from": spec.source},
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
        }


def find_ranges(
    shared: SharedSession, options: RangeOptions, excluded: Collection[str], progress: Progress
) -> Ranging:
    """All that can be known about the ranges of a prepared float model before run time.

    excluded  names of nodes that stay float, whose ranges are not needed
    """
    model = shared.model
    if options.images and options.data is not None:
        raise UsageError("--images and --data exclude each other", "give one of them")
    graph = read_graph(model)
    refuse_unknown_operators(graph)
    inputs = graph.inputs
    given: Ranges = {**options.known, **_checked_inputs(options.input_ranges, inputs)}
    file = None if options.ranges is None else _of_model(model, options.ranges)
    samples, spec = _samples(shared, inputs, options, file)
    if spec is not None:
        levels = level_range(_pixel_levels(spec.spec))
        given.setdefault(image_input(inputs, types=PICTURES).name, levels)
    refitting = refitting_with(model, samples, options.threads, progress)
    even = Equalized(model)
    source, measured, warnings = "operators only, the rest at run time", Ranges(), list[str]()
    errors: Mapping[str, Callable[[float, float], float]] = {}
    if file is not None:
        measured, source = file.ranges, "a ranges file"
    elif samples is not None and options.measures:
        choice = choose_precision(model, None, excluded)
        if options.equalizes and refitting is not None:
            even = equalized(model, refitting, choice.wanted)
        names = [name for name in choice.tensors(options.delivered) if name not in given]
        statistics, warnings = observe_samples(
            shared, even.model, samples, held_back(len(samples))[0], names, options.method, spec,
            options.threads, progress,
        )  # fmt: skip
        measured, errors = statistics.ranges(), statistics.errors()
        if refitting is not None:
            measured |= attention_ranges(even.model, statistics, refitting)
        source = f"{statistics.samples} samples, {options.method}"
    return Ranging(
        ranges=known_ranges(even.model, {**measured, **given}),
        errors=errors,
        source=source,
        preprocessing=spec,
        held_back=_compared(samples),
        samples=samples,
        refitting=refitting,
        even=even,
        skipped=_skipped(samples),
        warnings=warnings,
    )


def _pixel_levels(spec: Spec) -> NDArray[np.float32]:
    """What the pixels 0..255 become, (256, channels)."""
    pixels = np.arange(256, dtype=np.float32)[:, None]
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    return np.asarray((pixels - mean) / std, np.float32)


def _compared(samples: Samples | None) -> SampleStream | None:
    """The samples to compare on: those that neither ranges nor weights are taken from."""
    if samples is None:
        return None
    indices = held_back(len(samples))[1]
    return lambda: samples.at(indices)


def _skipped(samples: Samples | None) -> list[tuple[str, str]]:
    return samples.skipped if isinstance(samples, PhotoSamples) else []


def _samples(
    shared: SharedSession,
    inputs: Sequence[TensorInfo],
    options: RangeOptions,
    file: RangesFile | None,
) -> tuple[Samples | None, ChosenSpec | None]:
    """What to calibrate with or to compare on, and how photos become the input.

    What flags and the model leave open a ranges file may say.
    """
    if options.data is not None:
        return load_arrays(options.data, inputs), None
    try:
        info = image_input(inputs, types=PICTURES)
    except InputError:
        if options.images:
            raise
        return None, None
    spec, source = stated_spec(shared, info, options.preprocessing)
    chosen = None if source is None else ChosenSpec(spec, source)
    if chosen is None and file is not None and file.preprocess is not None:
        chosen = ChosenSpec(Spec.from_dict(file.preprocess), "ranges file")
    if not options.images:
        return None, chosen
    return open_photos(shared, inputs, options.images, options.preprocessing, chosen)


def observe_samples(
    shared: SharedSession,
    even_model: ir.Model,
    samples: Samples,
    indices: Sequence[int],
    names: Sequence[str],
    method: Method,
    spec: ChosenSpec | None,
    threads: int | None,
    progress: Progress,
) -> tuple[Statistics, list[str]]:
    """What the samples of these indices show of the named tensors, and what is strange about them.

    even_model  the model to observe: that of the session, or one with the same answers
    spec        how photos became the samples; None for arrays
    """
    model = shared.model
    inputs = read_graph(model).inputs
    stored = metadata.preprocess(model)
    limits = {}
    if stored is not None and len(inputs) == 1:
        limits = {inputs[0].name: Spec.from_dict(stored).range}
    doubts = Doubts(limits)
    done = 0

    def seen() -> None:
        nonlocal done
        done += 1
        progress("calibrating", done, len(indices))

    if bytes_between(model) > LARGE_VALUES:
        # The float model's values, and those of the one that is watched, would lie side by side.
        shared.forget()
    passing = doubts.passing(samples.at(indices))
    statistics = collect(even_model, passing, names, method, threads, seen)
    warnings = doubts.found()
    spread = [indices[i] for i in np.random.default_rng(0).permutation(len(indices))]
    if len(inputs) == 1 and not warnings:
        warnings += doubts_about_pixels(shared, inputs[0], lambda: samples.at(spread), spec)
    return statistics, warnings


def _checked_inputs(
    ranges: dict[str, tuple[float, float]], inputs: Sequence[TensorInfo]
) -> dict[str, tuple[float, float]]:
    known = [info.name for info in inputs]
    for name in ranges:
        if name not in known:
            raise UsageError(f"the model has no input '{name}'", f"its inputs: {', '.join(known)}")
    return ranges


def _of_model(model: ir.Model, path: Path) -> RangesFile:
    """A ranges file, every name of which must be a value of the model."""
    file = load_ranges(path)
    graph = model.graph
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    names = {value.name for value in values if value.name and constant(value) is None}
    for name in file.ranges:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"{path}: the model has no tensor '{name}'",
                f"did you mean {near[0]}?" if near else "",
            )
    return file
