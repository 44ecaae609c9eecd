"""q8tool calibrate: photos show the range of every tensor."""

from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    calibration_option,
    debug_option,
    force_option,
    input_option,
    json_option,
    output_option,
    preprocessing_options,
    sample_options,
    threads_option,
)

if TYPE_CHECKING:
    from q8tool.pipelines.calibrate import Report

__all__ = ["command"]


@click.command("calibrate")
@input_option(text="The float model.")
@output_option(text="The ranges file to write (JSON).")
@sample_options("to measure ranges with")
@calibration_option
@preprocessing_options
@threads_option
@force_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Measure the range of every tensor on photos, into a file that can be read and merged.

    Files of several machines, or of several folders, become one with `ranges merge`; it is the
    file that one run over all photos would have written. `quantize --ranges` uses it.

    \b
    Example:
      q8tool calibrate --input model.onnx --images photos/ --output ranges.json
      q8tool quantize --input model.onnx --ranges ranges.json --output small.onnx
    """
    from q8tool.pipelines import calibrate

    with report.progress() as bar:
        result = calibrate.run(calibrate.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    for file, reason in result.skipped:
        report.note(f"skipped {file}: {reason}")
    for text in result.warnings:
        report.note(f"warning: {text}")
    rows: list[tuple[str, object]] = [
        ("tensors", len(result.content.ranges)),
        ("samples", result.samples),
        ("calibration", result.method),
    ]
    if result.preprocessing is not None:
        rows.append(("preprocessing", str(result.preprocessing)))
    report.facts([*rows, ("written", result.path)])
