"""q8tool quantize: a float model becomes an eight-bit one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    FiniteRange,
    NearChoice,
    calibration_option,
    debug_option,
    force_option,
    input_option,
    json_option,
    one_thread_for_matrices,
    output_option,
    preprocessing_options,
    sample_options,
    share,
    threads_option,
    truth_options,
)
from q8tool.cli.recipe import recipe_options

if TYPE_CHECKING:
    from q8tool.pipelines.answers import Comparison
    from q8tool.pipelines.fallback import Fallback
    from q8tool.pipelines.layers import Layer
    from q8tool.pipelines.quantize_report import Report
    from q8tool.pipelines.timing import Timing

__all__ = ["command", "comparison_rows", "time_row"]

# Layers that are listed; the report's file has all.
WORST = 8
MODES = ["eightbit", "weights", "weights-rounded", "round", "simulate"]


def _ranges(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Callback: NAME=LOW,HIGH, given any number of times."""
    found = {}
    for value in values:
        name, _, ends = value.rpartition("=")
        try:
            low, high = (float(end) for end in ends.split(","))
        except ValueError:
            low, high = 1.0, 0.0
        if not name or not low <= high or abs(low) == float("inf") or high == float("inf"):
            raise click.BadParameter(f"'{value}' is not NAME=LOW,HIGH", ctx, param)
        found[name] = (low, high)
    return found


@click.command("quantize")
@one_thread_for_matrices
@input_option(text="The float model.")
@output_option(text="The eight-bit model to write.")
@click.option(
    "--mode", type=NearChoice(MODES), default="eightbit", show_default=True,
    help="eightbit: eight-bit operators. weights: int8 weights, float arithmetic. "
    "weights-rounded: float weights of 256 values, which zip well. round, simulate: "
    "float models that show what rounding costs.",
)  # fmt: skip
@sample_options("to measure ranges with")
@click.option(
    "--ranges", type=click.Path(path_type=Path), metavar="FILE",
    help="Ranges by tensor name from a ranges file (JSON), as calibrate writes it; photos then "
    "serve to fit weights and to compare.",
)  # fmt: skip
@click.option(
    "--input-range", "input_ranges", multiple=True, callback=_ranges, metavar="NAME=LOW,HIGH",
    help="The range of an input, where no photo shows it. Repeatable.",
)  # fmt: skip
@calibration_option
@click.option(
    "--format", type=NearChoice(["qdq", "qoperator"]), default="qdq", show_default=True,
    help="qdq: operators between conversions. qoperator: QLinearConv, QLinearMatMul.",
)  # fmt: skip
@click.option(
    "--per-channel/--per-tensor", default=True, show_default=True,
    help="One weight scale per output channel, or one for all.",
)  # fmt: skip
@click.option(
    "--exclude", "excluded", multiple=True, metavar="PATTERN",
    help="Nodes that stay float: a name with wildcards, op:TYPE, re:EXPRESSION, or FIRST..LAST for "
    "all nodes between two. Repeatable.",
)  # fmt: skip
@click.option(
    "--include", "included", multiple=True, metavar="PATTERN",
    help="The only nodes that may become eight-bit; patterns as for --exclude, which wins.",
)  # fmt: skip
@click.option(
    "--io", type=NearChoice(["float", "u8"]), default="float", show_default=True,
    help="u8: the input takes the pixels of a photo as bytes; the normalization is folded in.",
)  # fmt: skip
@click.option(
    "--opset", type=int, metavar="N",
    help="Version of the standard to write; default: the model's own, raised where needed.",
)  # fmt: skip
@click.option(
    "--strip/--no-strip", default=True, show_default=True,
    help="Cancel conversions that meet, as strip-conversions does.",
)  # fmt: skip
@click.option(
    "--max-drop",
    callback=share,
    metavar="SHARE",
    help="How much may be lost, such as 0.5%: of top-1 accuracy where classes are known, else of "
    "the labels that the float model gives. The layers that hurt most stay float; if that is not "
    "enough, nothing is written.",
)
@click.option(
    "--time-limit",
    type=FiniteRange(min=0.0),
    default=100.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --max-drop may look for layers to keep float.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where that search is kept while it runs, and goes on from. Default: beside the output.",
)
@click.option(
    "--allow-slower", is_flag=True, help="Write the model even if it is slower than the float one."
)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE",
    help="Write a report with every layer (JSON): type, ranges, noise, damage, bytes, time, and "
    "why it stayed float.",
)  # fmt: skip
@truth_options
@preprocessing_options
@recipe_options
@threads_option
@force_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Turn a float model into an eight-bit one, a quarter of the size.

    Works without any data: ranges follow from what operators compute, and are taken at run time
    where nothing says them. With photos (--images) they are measured, and the eight-bit model is
    compared with the float one on photos that were held back.

    \b
    Example:
      q8tool quantize --input model.onnx --output small.onnx --images photos/
    """
    from q8tool.pipelines import quantize

    with report.progress() as bar:
        result = quantize.run(quantize.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    from q8tool.passes.choose_precision import UNREAD
    from q8tool.pipelines.samples import compared_name

    # What only float reads was never meant to become eight-bit.
    kept = [row for row in result.kept if row[1] != UNREAD]
    if kept and result.mode == "eightbit":
        report.table(["stays float", "because"], _by_reason(kept))
    for file, reason in result.ranging.skipped:
        report.note(f"skipped {file}: {reason}")
    for text in result.warnings:
        report.note(f"warning: {text}")
    if result.layers is not None:
        _print_worst(result.layers)
    if result.fallback is not None and len(result.fallback.costs) > 1:
        costs = [(cost.float_layers, f"{cost.drop:.1%}") for cost in result.fallback.costs]
        report.table(["float layers", "drop"], costs)
    before, after = result.sizes
    rows: list[tuple[str, object]] = [("mode", result.mode)]
    if result.mode == "eightbit":
        rows.append(
            ("operators", f"{result.static} eight-bit, {result.dynamic} with run-time range")
        )
    if result.mode not in ("weights", "weights-rounded"):
        rows.append(("ranges", result.ranging.source))
    if result.ranging.preprocessing is not None:
        rows.append(("preprocessing", str(result.ranging.preprocessing)))
    if result.opset[0] != result.opset[1]:
        rows.append(("opset", f"{result.opset[0]} -> {result.opset[1]}"))
    rows.append(
        ("size", f"{report.amount(before)} -> {report.amount(after)} ({after / before:.1%})")
    )
    if result.zipped is not None:
        rows.append(("weights zipped", f"{result.zipped:.1%} of their size"))
    if result.fallback is not None:
        rows.append(("drop", _drop(result.fallback)))
    rows += [
        *comparison_rows(result.comparison, compared_name(len(result.ranging.samples or ()))),
        ("time of one run", time_row(result.timing)),
    ]
    report.facts([*rows, ("written", result.output)])


def _print_worst(layers: "Sequence[Layer]") -> None:
    """The operators that do the most damage; all stand in the report's file."""
    ranked = sorted((row for row in layers if row.rank is not None), key=lambda row: row.rank or 0)
    rows = [
        (row.name, row.op, row.form, "" if row.sqnr_db is None else round(row.sqnr_db, 1),
         f"{row.milliseconds[0]:.3f}", f"{row.milliseconds[1]:.3f}")
        for row in ranked[:WORST]
    ]  # fmt: skip
    if rows:
        report.table(["most damaged", "operator", "now", "dB", "float ms", "ms"], rows)


def _by_reason(kept: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """One row per reason: the first node, and how many more there are; --json lists them all."""
    nodes: dict[str, list[str]] = {}
    for node, reason in kept:
        nodes.setdefault(reason, []).append(node)
    return [
        (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", reason)
        for reason, names in nodes.items()
    ]


def comparison_rows(found: "Comparison", samples: str) -> list[tuple[str, object]]:
    """What a comparison found, for report.facts. samples: what they are called."""
    on = f"{found.samples} {'random inputs' if found.is_random else samples}"
    rows: list[tuple[str, object]] = []
    if found.agreement is not None and not found.is_random:
        rows.append(("same label as float", f"{found.agreement:.1%} of {on}"))
    if found.equal is not None:
        rows.append(("equal values", f"{found.equal:.2%} on {on}"))
    if found.sqnr_db is not None:
        rows.append(("signal to noise", _decibels(found.sqnr_db) + f" on {on}"))
    if found.accuracy is not None:
        before, after = found.accuracy
        rows.append(("accuracy", f"top-1 {before.top1:.1%} -> {after.top1:.1%}, "
                     f"top-5 {before.top5:.1%} -> {after.top5:.1%}"))  # fmt: skip
    if not found.is_random and found.samples > 1:
        rows.append(("farthest off", found.worst))
    return rows


def _drop(fallback: "Fallback") -> str:
    text = f"{fallback.comparison.drop or 0.0:.2%} on {fallback.comparison.samples} samples"
    if fallback.layers:
        text += f", {len(fallback.layers)} of {fallback.of} layers stay float for it"
    if fallback.found is not None and fallback.found.stopped:
        text += f" (search ended early: {fallback.found.stopped})"
    return text


def time_row(timing: "Timing") -> str:
    """Both times and their ratio."""
    before, after = timing.float_ms, timing.eight_bit_ms
    digits = 1 if after >= 1 else 2
    return f"{before:.{digits}f} ms -> {after:.{digits}f} ms ({before / after:.1f} times as fast)"


def _decibels(value: float) -> str:
    return "equal answers" if value == float("inf") else f"{value:.1f} dB"
