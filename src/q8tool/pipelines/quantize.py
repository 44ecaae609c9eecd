"""quantize: a float model becomes an eight-bit one, measured against the float one before saving.

load -> prepare -> ranges (file, operators; photos, with channels equalized; else at run time)
-> trim ranges, share scales -> rewrite (fewer layers until the drop is small enough) -> check
-> compare on held-back samples -> time both -> note -> save -> report
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir

from q8tool import __version__
from q8tool.calibrate.collect import SampleStream
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges
from q8tool.errors import InputError, UsageError
from q8tool.model import io, metadata
from q8tool.model.check import check_made
from q8tool.model.files import check_outputs, write_atomically
from q8tool.model.graph import is_quantized, node_label, node_name, op_counts
from q8tool.model.select import select_nodes
from q8tool.passes.choose_precision import Choice
from q8tool.passes.quantize_weights import zipped_share
from q8tool.passes.raise_opset import OPSET_FOR_EIGHT_BIT
from q8tool.passes.share_scales import share_scales
from q8tool.passes.trim_ranges import trim_ranges
from q8tool.pipelines.answers import Comparison, Referee, Truth
from q8tool.pipelines.damage import Damage, measure_damage
from q8tool.pipelines.fallback import FOR_MAX_DROP, Fallback, Goal, reach_goal
from q8tool.pipelines.guard import noisiest, refuse_slower, worries
from q8tool.pipelines.layers import Layer, describe_layers
from q8tool.pipelines.pixels import take_pixels
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.provenance import claims_of, note_quantization, source_hash
from q8tool.pipelines.quantize_report import Report
from q8tool.pipelines.range_sources import RangeOptions, Ranging, find_ranges
from q8tool.pipelines.rewriting import MODES, Form, Format, Mode, Rewritten, prepared, rewritten
from q8tool.pipelines.samples import PhotoSamples
from q8tool.pipelines.shared_session import SharedSession
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
    calibration: Method = "weighted-mse"
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
    return _Run(options, progress, original).run()


class _Run:
    """One run: its options, the float model, and what its steps find out for those after them."""

    def __init__(self, options: Options, progress: Progress, original: ir.Model) -> None:
        self.options, self.progress, self.original = options, progress, original
        self.form = Form(options.mode, options.format, options.per_channel, options.strip)
        self.is_eightbit = options.mode == "eightbit"
        self.source = source_hash(original, options.input_path)
        # How much the original weighs: its weights may lie in a file that is overwritten.
        self.size = io.file_bytes(original, options.input_path)

    def run(self) -> Report:
        """The steps, one after the other."""
        self._prepare()
        self._find_ranges()
        found, fallback = self._good_enough(self._written(frozenset()))
        check_made(
            found.model, str(self.options.output_path), self.original, str(self.options.input_path)
        )
        small = SharedSession(found.model, self.options.threads)
        referee = Referee(
            self.shared, self.ranging.held_back, self.options.threads, self.truth,
            self.progress,
        )  # fmt: skip
        comparison = referee.compare(small)
        timing = self._timing(small, referee)
        self._note(found.model, comparison, referee)
        layers = self._layers(found, referee)
        written = io.save(found.model, self.options.output_path, force=self.options.force)
        report = self._report(found, written, comparison, timing, fallback, layers)
        if self.options.report is not None:
            _write_report(report, self.options.report, self.options.force)
        return report

    def _prepare(self) -> None:
        """The float model that becomes eight-bit, and which of its nodes do not."""
        options = self.options
        opset = _opset(options.opset, self.original.opset_imports.get("", 0))
        self.float_model, self.changes = prepared(self.original, opset)
        self.pixels, self.folded = Ranges(), None
        if options.io == "u8":
            did, self.pixels, self.folded = take_pixels(
                self.float_model, options.preprocessing, options.images
            )
            self.changes += did
        self.excluded = _excluded(self.float_model, options.excluded, options.included)

    def _find_ranges(self) -> None:
        """Ranges, and the model that they are of: the float one, or equal with channels equalized.

        A range that somebody gave is of the model as it is.
        """
        options, progress = self.options, self.progress
        self.shared = SharedSession(self.float_model, options.threads)
        self.ranging = find_ranges(
            self.shared, _range_options(options, self.pixels), self.excluded, progress
        )
        self.truth = _truth(self.original, options, self.ranging)
        self.changes += self.ranging.even.changes
        self.basis, self.ranges = self.ranging.even.model, self.ranging.ranges
        if self.is_eightbit and options.ranges is None:
            self.ranges, trimmed = trim_ranges(self.basis, self.ranges, self.excluded)
            self.ranges, shared = share_scales(
                self.basis, self.ranges, self.excluded, self.ranging.errors
            )
            self.changes += [*trimmed, *shared]

    def _written(self, left_out: frozenset[str]) -> Rewritten:
        """The eight-bit model in which these nodes, too, are float."""
        return rewritten(
            self.basis, self.form, self.ranges, self.excluded | left_out, self.ranging.refitting
        )

    def _good_enough(self, first: Rewritten) -> tuple[Rewritten, Fallback | None]:
        """The model with the fewest float layers that stays within --max-drop; else the first."""
        options, ranging = self.options, self.ranging
        if options.max_drop is None:
            return first, None
        assert ranging.samples is not None
        assert ranging.held_back is not None
        samples = ranging.samples
        state = options.state or options.output_path.with_name(f"{options.output_path.name}.search")
        recipe = {
            "version": __version__,
            "source": self.source,
            "form": asdict(self.form),
            "excluded": sorted(self.excluded),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "max_drop": options.max_drop,
            "truth": dict(self.truth),
        }
        return reach_goal(
            self.float_model,
            first,
            self._written,
            (lambda: samples.at(range(len(samples))), ranging.held_back),
            self._damage(ranging.held_back),
            self.truth,
            Goal(options.max_drop, options.time_limit, state),
            recipe,
            options.threads,
            self.progress,
        )

    def _damage(self, samples: SampleStream) -> Damage:
        return measure_damage(
            self.basis, self.ranges, self.excluded, samples, self.form.per_channel,
            self.options.threads, self.progress,
        )  # fmt: skip

    def _timing(self, small: SharedSession, referee: Referee) -> Timing:
        """Both models in turn. Raises SlowerError if the eight-bit one is, unless it may be."""
        options = self.options
        measured = referee.measured_times()
        if measured is not None:
            # What was run in parts was timed then, and is not judged by it.
            return Timing(*measured, is_slower=False)
        feeds = referee.first.feeds
        timing = time_models(self.shared, small, feeds, options.threads)
        if timing.is_slower and self.is_eightbit and not options.allow_slower:
            refuse_slower(timing, slowest_steps(small.model, feeds, options.threads))
        return timing

    def _note(self, model: ir.Model, comparison: Comparison, referee: Referee) -> None:
        """What the file says of itself."""
        claims = claims_of(comparison, referee.samples, len(self.ranging.samples or ()))
        if self.folded is not None:
            claims["float_preprocess"] = self.folded.to_dict()
        note_quantization(model, self.options.mode, self.source, self.ranging, claims)
        if self.ranging.even.scaled:
            metadata.set_scaled_values(model, self.ranging.even.scaled)

    def _layers(self, found: Rewritten, referee: Referee) -> list[Layer] | None:
        """What became of every operator, if --report wants it."""
        if self.options.report is None:
            return None
        held_back = self.ranging.held_back
        damage = self._damage(held_back) if held_back is not None and self.is_eightbit else None
        return describe_layers(
            self.basis, found.model, found.choice, self.ranges, damage, referee.first.feeds,
            self.options.threads,
        )  # fmt: skip

    def _doubts(self, comparison: Comparison) -> list[str]:
        """What is wrong with the result, and with layers that may be why."""
        found = worries(comparison)
        held_back = self.ranging.held_back
        if not found or held_back is None or not self.is_eightbit:
            return found
        return found + noisiest(self._damage(held_back))

    def _report(
        self,
        found: Rewritten,
        written: int,
        comparison: Comparison,
        timing: Timing,
        fallback: Fallback | None,
        layers: list[Layer] | None,
    ) -> Report:
        options, model, choice = self.options, found.model, found.choice
        doubts = self._doubts(comparison) if fallback is None else fallback.worries()
        opsets = [one.opset_imports.get("", 0) for one in (self.original, model)]
        return Report(
            output=str(options.output_path),
            mode=options.mode,
            sizes=(self.size, written),
            op_counts=(op_counts(self.original), op_counts(model)),
            static=_count(choice, "static") if self.is_eightbit else 0,
            dynamic=_count(choice, "dynamic") if self.is_eightbit else 0,
            kept=_kept(choice, fallback),
            ranging=self.ranging,
            comparison=comparison,
            changes=[*self.changes, *found.changes],
            opset=(opsets[0], opsets[1]),
            timing=timing,
            fallback=fallback,
            warnings=[*self.ranging.warnings, *doubts],
            zipped=zipped_share(model) if options.mode == "weights-rounded" else None,
            layers=layers,
        )


def _kept(choice: Choice, fallback: Fallback | None) -> list[tuple[str, str]]:
    """Label and reason of what stays float."""
    layers = frozenset[str]() if fallback is None else fallback.layers
    return [
        (node_label(node), FOR_MAX_DROP if node_name(node) in layers else reason)
        for node, reason in choice.kept
    ]


def _write_report(report: Report, path: Path, force: bool) -> None:
    with write_atomically(path, force=force) as file:
        file.write((json.dumps(report.to_json(), indent=1) + "\n").encode("utf-8"))


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
        equalizes=options.mode == "eightbit",
    )


def _count(choice: Choice, form: str) -> int:
    return sum(unit.form == form for unit in choice.units)
