"""quantize: a float model becomes an eight-bit one, measured against the float one before saving.

load -> simplify -> ranges (file, operators, photos; else at run time) -> choose per operator
-> conversions around each -> strip -> check -> compare on held-back samples -> save
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from q8tool.calibrate.observers import Method
from q8tool.errors import InputError, Q8Error, UsageError
from q8tool.model import io
from q8tool.model.change import Change
from q8tool.model.check import check
from q8tool.model.files import check_output
from q8tool.model.graph import is_quantized, node_label, op_counts
from q8tool.model.select import select_nodes
from q8tool.passes.choose_precision import UNREAD, Choice
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.inline_functions import inline_functions
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.insert_dynamic import insert_dynamic
from q8tool.passes.lift_weights import lift_weights
from q8tool.passes.quantize_storage import quantize_storage
from q8tool.passes.quantize_weights import (
    SMALLEST,
    quantize_weights,
    round_weights,
    zipped_share,
)
from q8tool.passes.raise_opset import raise_opset
from q8tool.passes.set_inference_mode import set_inference_mode
from q8tool.passes.simplify import simplify
from q8tool.passes.simulate_rounding import simulate_rounding
from q8tool.passes.strip import strip
from q8tool.passes.to_qoperator import to_qoperator
from q8tool.passes.widen_floats import widen_floats
from q8tool.pipelines.answers import Comparison, compare_answers
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.provenance import note_quantization
from q8tool.pipelines.range_sources import RangeOptions, Ranging, find_ranges

__all__ = ["MODES", "Mode", "Options", "Report", "run"]

Mode = Literal["eightbit", "weights", "weights-rounded", "round", "simulate"]
MODES: tuple[Mode, ...] = ("eightbit", "weights", "weights-rounded", "round", "simulate")
Format = Literal["qdq", "qoperator"]


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
    model, changes = _prepared(original)
    excluded = _excluded(model, options.excluded)
    ranging = find_ranges(model, _range_options(options), excluded, progress)
    float_model = model.clone()
    choice = ranging.choice
    changes += _rewrite(model, options, ranging, excluded)
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
        changes=changes,
        opset=(opset, model.opset_imports.get("", 0)),
        zipped=zipped_share(model) if options.mode == "weights-rounded" else None,
    )


def _refuse_quantized(model: ir.Model, path: Path) -> None:
    if is_quantized(model):
        raise InputError(
            f"{path}: is quantized already",
            "give the float model; strip-conversions and inspect take quantized ones",
        )


def _prepared(original: ir.Model) -> tuple[ir.Model, list[Change]]:
    """freeze's passes: what is left is what runs."""
    model = original.clone()
    changes = [*lift_weights(model), *inline_functions(model), *set_inference_mode(model)]
    changes += [*widen_floats(model), *simplify(model)]
    model, raised = raise_opset(model)
    return model, [*changes, *raised]


def _excluded(model: ir.Model, patterns: Sequence[str]) -> frozenset[ir.Node]:
    found = select_nodes(model, patterns)
    return frozenset(node for nodes in found.values() for node in nodes)


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


def _rewrite(
    model: ir.Model, options: Options, ranging: Ranging, excluded: frozenset[ir.Node]
) -> list[Change]:
    per_channel, choice = options.per_channel, ranging.choice
    if options.mode == "weights":
        changes = quantize_weights(model, excluded, per_channel)
    elif options.mode == "weights-rounded":
        changes = round_weights(model, excluded)
    elif options.mode in ("round", "simulate"):
        changes = simulate_rounding(
            model, choice, ranging.ranges, per_channel, rounds_weights=options.mode == "simulate"
        )
    else:
        changes = insert_conversions(model, choice, ranging.ranges, per_channel)
        changes += insert_dynamic(model, choice, per_channel)
        changes += quantize_storage(model, excluded)
        if options.strip:
            changes += strip(model)
        if options.format == "qoperator":
            changes += to_qoperator(model)
    if not changes:
        raise _nothing_quantized(choice, options)
    # Without strip every operator keeps conversions of its own; what nobody reads goes.
    return [*changes, *clean_graph(model, merges=options.strip)]


def _nothing_quantized(choice: Choice, options: Options) -> Q8Error:
    """Why no operator became eight-bit: what was excluded, what has no form, what is no float32."""
    if options.excluded:
        return UsageError("nothing to quantize: the excluded nodes are all that could be eight-bit")
    if options.mode in ("weights", "weights-rounded"):
        return InputError(
            f"nothing to quantize: no operator has float32 weights of {SMALLEST} numbers or more"
        )
    reasons = [(node, why) for node, why in choice.kept if why != UNREAD]
    if not reasons:
        return InputError("nothing to quantize: no operator has constant weights")
    node, why = reasons[0]
    return InputError(f"nothing to quantize: {node_label(node)} stays float, {why}")


def _count(choice: Choice, form: str) -> int:
    return sum(unit.form == form for unit in choice.units)
