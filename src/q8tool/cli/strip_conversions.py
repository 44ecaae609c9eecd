"""q8tool strip-conversions: conversions that cancel go, with a proof."""

from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    debug_option,
    force_option,
    input_option,
    json_option,
    output_option,
    threads_option,
)

if TYPE_CHECKING:
    from q8tool.pipelines.strip_conversions import Report

__all__ = ["command"]


@click.command("strip-conversions")
@input_option(text="The eight-bit model to strip, whichever tool wrote it.")
@output_option(text="The stripped model.")
@threads_option
@force_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Remove the conversions of an eight-bit model that cancel out, and prove it.

    A DequantizeLinear whose result is quantized again with equal parameters goes (tried on all
    256 codes); two roundings in a row become one; data movement works on codes. Float readers and
    outputs keep their values. Both models run on the same random input before anything is written.

    \b
    Example:
      q8tool strip-conversions --input quantized.onnx --output stripped.onnx
    """
    from q8tool.pipelines import strip_conversions

    with report.progress() as bar:
        result = strip_conversions.run(strip_conversions.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    if result.kept:
        report.table(["conversions kept", "because"], result.kept)
    before, after = result.conversions
    report.facts(
        [
            ("pairs removed", f"{result.count('cancel_conversions')}, equal for all codes"),
            ("roundings merged", result.count("merge_conversions")),
            ("moved below data movement", result.count("sink_dequantize")),
            ("conversions", f"{before} -> {after}"),
            ("size", " -> ".join(report.amount(size) for size in result.sizes)),
            ("difference", f"{result.difference:.3g} at most, on random input"),
            ("written", result.output),
        ]
    )
