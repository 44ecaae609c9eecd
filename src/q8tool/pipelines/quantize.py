"""quantize: a float model becomes an eight-bit one, measured against the float one before saving.

load -> simplify -> ranges (file, operators, photos; else at run time) -> choose per operator
-> conversions around each -> strip -> check -> compare on held-back samples -> save
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir

from q8tool import __version__
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges
from q8tool.errors import InputError, UsageError
from q8tool.model import io, metadata
from q8tool.model.check import check
from q8tool.model.files import check_outputs, write_atomically
from q8tool.model.graph import is_quantized, node_label, node_name, op_counts
from q8tool.model.select import select_nodes
from q8tool.passes.choose_precision import Choice
from q8tool.passes.quantize_weights import zipped_share
from q8tool.passes.raise_opset import OPSET_FOR_EIGHT_BIT
from q8tool.pipelines.answers import Referee, Truth
from q8tool.pipelines.damage import measure_damage
from q8tool.pipelines.equalizing import equalized
from q8tool.pipelines.fallback import Fallback, Goal, reach_goal
from q8tool.pipelines.guard import refuse_slower, worries
from q8tool.pipelines.layers import Layer, describe_layers
from q8tool.pipelines.pixels import take_pixels
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.provenance import claims_of, note_quantization, source_hash
from q8tool.pipelines.quantize_report import Report
from q8tool.pipelines.range_sources import RangeOptions, Ranging, find_ranges
from q8tool.pipelines.refitting import refitting_with
from q8tool.pipelines.rewriting import MODES, Form, Format, Mode, Rewritten, prepared, rewritten
from q8tool.pipelines.samples import PhotoSamples
from q8tool.pipelines.timing import Timing, slowest_steps, time_models
from q8tool.pipelines.truth import true_classes

__all__ = ["MODES", "Mode", "Options", "Report", "run"]


TIME_LIMIT = 100.0
"""Seconds that the search for layers to keep float takes at most, unless asked otherwise."""


@dataclass(frozen=True)
class Options:
    """What quantize is asked to do.

    images, data, ranges   where ranges come from; at most one of them
    input_ranges           graph input -> (low, high)
    excluded               patterns of nodes that stay float (model/select.py)
    included               patterns of the only nodes that may become eight-bit; empty: all may
    opset                  of the result; None: the lowest that will do, at least the model's own
    preprocessing          how photos become the input, as far as flags say
    labels_csv, label_offset   classes of photos, and what to add to their numbers (truth.py)
    max_drop               how much may be lost, 0..1; None: whatever it is
    time_limit             seconds that looking for layers to keep float may take
    state                  where that search is kept while it runs; None: beside the output
    io                     u8: the input takes pixels, and normalizes them itself
    report                 where to write the report with every layer (JSON); None: nowhere
    allow_slower           whether the result may be slower than the float model
    """

    input_path: Path
    output_path: Path
    mode: Mode = "eightbit"
    images: Sequence[Path] = ()
    data: Path | None = None
    ranges: Path | None = None
    input_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    calibration: Method = "minmax"
    format: Format = "qdq"
    per_channel: bool = True
    excluded: Sequence[str] = ()
    included: Sequence[str] = ()
    opset: int | None = None
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    strip: bool = True
    labels_csv: Path | None = None
    label_offset: int = 0
    max_drop: float | None = None
    time_limit: float = TIME_LIMIT
    state: Path | None = None
    allow_slower: bool = False
    io: Literal["float", "u8"] = "float"
    report: Path | None = None
    force: bool = False
    threads: int | None = None


def run(options: Options, progress: Progress = silent) -> Report:
    """Quantize a model file.

    Raises UsageError for what the options name wrongly and an existing output, InputError for
    files that are not usable and a model that is quantized already, SlowerError and
    ExpectationError for a result that is not good enough; then nothing is written.
    """
    outputs = [options.output_path, *([] if options.report is None else [options.report])]
    check_outputs(outputs, force=options.force)
    if options.max_drop is not None and not options.images and options.data is None:
        raise UsageError("--max-drop needs something to compare on", "give --images or --data")
    original = io.load(options.input_path)
    _refuse_quantized(original, options.input_path)
    size = io.file_bytes(original, options.input_path)
    counts, opset = op_counts(original), original.opset_imports.get("", 0)
    float_model, changes = prepared(original, _opset(options.opset, opset))
    pixels, folded = Ranges(), None
    if options.io == "u8":
        did, pixels, folded = take_pixels(float_model, options.preprocessing, options.images)
        changes += did
    excluded = _excluded(float_model, options.excluded, options.included)
    ranging = find_ranges(float_model, _range_options(options, pixels), excluded, progress)
    refitting = refitting_with(float_model, ranging, options.threads, progress)
    form, basis, ranges = _form(options), float_model, ranging.ranges
    if refitting is not None and form.mode == "eightbit":
        basis, ranges, more = equalized(float_model, ranging, refitting, options.calibration)
        changes += more

    def write(left_out: frozenset[str]) -> Rewritten:
        return rewritten(basis, form, ranges, excluded | left_out, refitting)

    found = write(frozenset())
    truth = _truth(original, options, ranging)
    source = source_hash(original, options.input_path)
    fallback = None
    if options.max_drop is not None:
        found, fallback = _within_drop(
            float_model, found, write, options, ranging, excluded, truth, source, progress
        )
    model, choice = found.model, found.choice
    check(model, str(options.output_path))
    referee = Referee(float_model, ranging.held_back, options.threads, truth, progress)
    comparison = referee.compare(model)
    timing = _timing(float_model, model, referee, options.threads)
    if timing.is_slower and options.mode == "eightbit" and not options.allow_slower:
        refuse_slower(timing, slowest_steps(model, referee.first.feeds, options.threads))
    claims = claims_of(comparison, referee.samples)
    if folded is not None:
        claims["float_preprocess"] = folded.to_dict()
    note_quantization(model, options.mode, source, ranging, claims)
    layers = None
    if options.report is not None:
        layers = _layers(float_model, found, referee, options, ranging, excluded, progress)
    written = io.save(model, options.output_path, force=options.force)
    is_eightbit = options.mode == "eightbit"
    report = Report(
        output=str(options.output_path),
        mode=options.mode,
        sizes=(size, written),
        op_counts=(counts, op_counts(model)),
        static=_count(choice, "static") if is_eightbit else 0,
        dynamic=_count(choice, "dynamic") if is_eightbit else 0,
        kept=[(node_label(node), reason) for node, reason in choice.kept],
        ranging=ranging,
        comparison=comparison,
        changes=[*changes, *found.changes],
        opset=(opset, model.opset_imports.get("", 0)),
        timing=timing,
        fallback=fallback,
        warnings=[*ranging.warnings, *([] if options.max_drop else worries(comparison))],
        zipped=zipped_share(model) if options.mode == "weights-rounded" else None,
        layers=layers,
    )
    if options.report is not None:
        _write_report(report, options.report, options.force)
    return report


def _layers(
    float_model: ir.Model,
    found: Rewritten,
    referee: Referee,
    options: Options,
    ranging: Ranging,
    excluded: frozenset[str],
    progress: Progress,
) -> list[Layer]:
    """What became of every operator, for --report."""
    damage = None
    if ranging.held_back is not None and options.mode == "eightbit":
        damage = measure_damage(
            float_model, ranging.ranges, excluded, ranging.held_back, options.per_channel,
            options.threads, progress,
        )  # fmt: skip
    return describe_layers(
        float_model, found.model, found.choice, ranging.ranges, damage, referee.first.feeds,
        options.threads,
    )  # fmt: skip


def _write_report(report: Report, path: Path, force: bool) -> None:
    with write_atomically(path, force=force) as file:
        file.write((json.dumps(report.to_json(), indent=1) + "\n").encode("utf-8"))


def _timing(
    float_model: ir.Model, model: ir.Model, referee: Referee, threads: int | None
) -> Timing:
    """Both models in turn; what was run in parts was timed then, and is not judged by it."""
    measured = referee.measured_times()
    if measured is not None:
        return Timing(*measured, is_slower=False)
    return time_models(float_model, model, referee.first.feeds, threads)


def _within_drop(
    float_model: ir.Model,
    first: Rewritten,
    write: Callable[[frozenset[str]], Rewritten],
    options: Options,
    ranging: Ranging,
    excluded: frozenset[str],
    truth: Truth,
    source: str,
    progress: Progress,
) -> tuple[Rewritten, Fallback]:
    """The model with the fewest float layers that stays within --max-drop."""
    assert options.max_drop is not None
    assert ranging.samples is not None
    assert ranging.held_back is not None
    samples, form = ranging.samples, _form(options)
    damage = measure_damage(
        float_model, ranging.ranges, excluded, ranging.held_back, form.per_channel,
        options.threads, progress,
    )  # fmt: skip
    state = options.state or options.output_path.with_name(f"{options.output_path.name}.search")
    recipe = {
        "version": __version__,
        "source": source,
        "form": asdict(form),
        "excluded": sorted(excluded),
        "ranges": {name: list(ends) for name, ends in ranging.ranges.items()},
        "max_drop": options.max_drop,
        "truth": dict(truth),
    }
    return reach_goal(
        float_model,
        first,
        write,
        (lambda: samples.at(range(len(samples))), ranging.held_back),
        damage,
        truth,
        Goal(options.max_drop, options.time_limit, state),
        recipe,
        options.threads,
        progress,
    )


def _form(options: Options) -> Form:
    return Form(options.mode, options.format, options.per_channel, options.strip)


def _truth(model: ir.Model, options: Options, ranging: Ranging) -> Truth:
    photos = ranging.samples.paths if isinstance(ranging.samples, PhotoSamples) else []
    names = metadata.labels(model) or []
    return true_classes(photos, names, options.labels_csv, options.label_offset)


def _refuse_quantized(model: ir.Model, path: Path) -> None:
    if is_quantized(model):
        raise InputError(
            f"{path}: is quantized already",
            "give the float model; strip-conversions and inspect take quantized ones",
        )


def _opset(wanted: int | None, current: int) -> int:
    """The opset to work in. Raises UsageError for one that cannot be."""
    if wanted is None:
        return OPSET_FOR_EIGHT_BIT
    newest = onnx.defs.onnx_opset_version()
    least = max(OPSET_FOR_EIGHT_BIT, current)
    if not least <= wanted <= newest:
        raise UsageError(
            f"opset {wanted} cannot be written",
            f"the model's is {current}; from {least} to {newest} is possible",
        )
    return wanted


def _excluded(model: ir.Model, excluded: Sequence[str], included: Sequence[str]) -> frozenset[str]:
    """Names of nodes that stay float: the excluded, and what is not included if anything is."""
    found = {node for nodes in select_nodes(model, excluded).values() for node in nodes}
    if included:
        wanted = {node for nodes in select_nodes(model, included).values() for node in nodes}
        found.update(node for node in model.graph if node not in wanted)
    return frozenset(node_name(node) for node in found)


def _range_options(options: Options, known: Ranges) -> RangeOptions:
    return RangeOptions(
        images=options.images,
        data=options.data,
        ranges=options.ranges,
        input_ranges=options.input_ranges,
        method=options.calibration,
        # A model that takes pixels says itself how photos become its input.
        preprocessing=SpecOptions() if known else options.preprocessing,
        known=known,
        threads=options.threads,
        measures=options.mode not in ("weights", "weights-rounded"),
        delivered=options.mode == "round",
    )


def _count(choice: Choice, form: str) -> int:
    return sum(unit.form == form for unit in choice.units)
