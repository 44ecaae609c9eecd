"""quantize: a float model becomes an eight-bit one, measured against the float one before saving.

load -> simplify -> ranges (file, operators, photos; else at run time) -> choose per operator
-> conversions around each -> strip -> check -> compare on held-back samples -> save
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool.calibrate.observers import Method
from q8tool.errors import InputError
from q8tool.model import io
from q8tool.model.change import Change
from q8tool.model.check import check
from q8tool.model.files import check_output
from q8tool.model.graph import is_quantized, node_label, node_name, op_counts
from q8tool.model.select import select_nodes
from q8tool.passes.choose_precision import Choice
from q8tool.passes.quantize_weights import zipped_share
from q8tool.pipelines.answers import Comparison, compare_answers
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.provenance import note_quantization
from q8tool.pipelines.range_sources import RangeOptions, Ranging, find_ranges
from q8tool.pipelines.rewriting import MODES, Form, Format, Mode, prepared, rewritten

__all__ = ["MODES", "Mode", "Options", "Report", "run"]


@dataclass(frozen=True)
class Options:
    """What quantize is asked to do.

    images, data, ranges   where ranges come from; at most one of them
    input_ranges           graph input -> (low, high)
    excluded               patterns of nodes that stay float (model/select.py)
    preprocessing          how photos become the input, as far as flags say
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
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    strip: bool = True
    force: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Report:
    """What quantize did.

    sizes         bytes of the input and the output
    op_counts     nodes per operator, before and after
    static, dynamic   operators with ranges known before and at run time
    kept          (node, reason) of operators that could have been eight-bit and stayed float
    ranging       where the ranges come from
    comparison    with the float model
    zipped        share of the weights' bytes after compression; None outside weights-rounded
    """

    output: str
    mode: Mode
    sizes: tuple[int, int]
    op_counts: tuple[dict[str, int], dict[str, int]]
    static: int
    dynamic: int
    kept: list[tuple[str, str]]
    ranging: Ranging
    comparison: Comparison
    changes: list[Change]
    opset: tuple[int, int]
    zipped: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "output": self.output,
            "mode": self.mode,
            "bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            "operators": {"before": self.op_counts[0], "after": self.op_counts[1]},
            "opset": {"before": self.opset[0], "after": self.opset[1]},
            "static": self.static,
            "dynamic": self.dynamic,
            "kept_float": [{"node": node, "reason": reason} for node, reason in self.kept],
            "ranges": self.ranging.to_json(),
            "comparison": self.comparison.to_json(),
            "zipped_share": self.zipped,
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Quantize a model file.

    Raises UsageError for what the options name wrongly and an existing output, InputError for
    files that are not usable and a model that is quantized already; then nothing is written.
    """
    check_output(options.output_path, force=options.force)
    original = io.load(options.input_path)
    _refuse_quantized(original, options.input_path)
    size = io.file_bytes(original, options.input_path)
    counts, opset = op_counts(original), original.opset_imports.get("", 0)
    float_model, changes = prepared(original)
    excluded = _excluded(float_model, options.excluded)
    ranging = find_ranges(float_model, _range_options(options), excluded, progress)
    form = Form(options.mode, options.format, options.per_channel, options.strip)
    found = rewritten(float_model, form, ranging.ranges, excluded)
    model, choice = found.model, found.choice
    check(model, str(options.output_path))
    comparison = compare_answers(float_model, model, ranging.held_back, options.threads, progress)
    note_quantization(model, options.mode, options.input_path, ranging, comparison)
    written = io.save(model, options.output_path, force=options.force)
    is_eightbit = options.mode == "eightbit"
    return Report(
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
        zipped=zipped_share(model) if options.mode == "weights-rounded" else None,
    )


def _refuse_quantized(model: ir.Model, path: Path) -> None:
    if is_quantized(model):
        raise InputError(
            f"{path}: is quantized already",
            "give the float model; strip-conversions and inspect take quantized ones",
        )


def _excluded(model: ir.Model, patterns: Sequence[str]) -> frozenset[str]:
    found = select_nodes(model, patterns)
    return frozenset(node_name(node) for nodes in found.values() for node in nodes)


def _range_options(options: Options) -> RangeOptions:
    return RangeOptions(
        images=options.images,
        data=options.data,
        ranges=options.ranges,
        input_ranges=options.input_ranges,
        method=options.calibration,
        preprocessing=options.preprocessing,
        threads=options.threads,
        measures=options.mode not in ("weights", "weights-rounded"),
        delivered=options.mode == "round",
    )


def _count(choice: Choice, form: str) -> int:
    return sum(unit.form == form for unit in choice.units)
