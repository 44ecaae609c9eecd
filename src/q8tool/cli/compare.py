"""q8tool compare: two models side by side on the same photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    debug_option,
    json_option,
    preprocessing_options,
    sample_options,
    share,
    threads_option,
    truth_options,
)

if TYPE_CHECKING:
    from q8tool.pipelines.compare import Report

__all__ = ["command"]

SHOWN = 10


@click.command("compare")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@sample_options("to compare on")
@click.option(
    "--max-drop", callback=share, metavar="SHARE",
    help="Exit with 4 if more is lost, such as 0.5%: of top-1 accuracy where classes are known, "
    "else of the reference's labels.",
)  # fmt: skip
@click.option(
    "--min-agreement", callback=share, metavar="SHARE",
    help="Exit with 4 if fewer photos get the same label from both, such as 99%.",
)  # fmt: skip
@click.option(
    "--worst", type=click.IntRange(0), default=SHOWN, show_default=True, metavar="N",
    help="How many of the noisiest values, and of the photos with other labels, to list.",
)  # fmt: skip
@truth_options
@preprocessing_options
@threads_option
@json_option
@debug_option
def command(*, as_json: bool, worst: int, **options: Any) -> None:
    """Compare two models on the same photos: answers, values in between, size and time.

    Any two with the same outputs will do, whichever tool wrote them. Values that both compute
    under one name show where the noise comes from.

    \b
    Example:
      q8tool compare model.onnx small.onnx --images photos/ --min-agreement 98%
    """
    from q8tool.pipelines import compare

    asked = compare.Options(**options)
    with report.progress() as bar:
        result = compare.run(asked, bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result, worst)
    result.check(asked)


def _print(result: "Report", worst: int) -> None:
    from q8tool.cli.quantize import comparison_rows, time_row

    for file, reason in result.skipped:
        report.note(f"skipped {file}: {reason}")
    noisy = [value for value in result.values if value.sqnr_db is not None]
    noisy.sort(key=lambda value: value.sqnr_db or 0.0)
    if noisy[:worst]:
        rows = [
            (value.name, value.op, round(value.sqnr_db or 0.0, 1), "scale undone" * value.is_scaled)
            for value in noisy[:worst]
        ]
        report.table(["noisiest values", "operator", "dB", ""], rows)
    differing = result.comparison.differing
    if differing[:worst]:
        found = [(row.sample, row.reference, row.other) for row in differing[:worst]]
        report.table(["other label", "reference", "other"], found)
        if len(differing) > worst:
            report.line(f"and {len(differing) - worst} more")
            report.line()
    before, after = result.sizes
    rows_below: list[tuple[str, object]] = [
        ("size", f"{report.amount(before)} -> {report.amount(after)} ({after / before:.1%})")
    ]
    rows_below += comparison_rows(result.comparison, "samples")
    report.facts([*rows_below, ("time of one run", time_row(result.timing))])
