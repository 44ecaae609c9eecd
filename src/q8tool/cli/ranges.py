"""q8tool ranges: merge ranges files, and look into one."""

from collections.abc import Sequence
from pathlib import Path

import click

from q8tool.cli import report
from q8tool.cli.group import NearGroup
from q8tool.cli.options import debug_option, force_option, json_option, output_option

__all__ = ["command"]


@click.group("ranges", cls=NearGroup)
@debug_option
def command() -> None:
    """Merge the ranges files that calibrate writes, or show what is in one.

    \b
    Example:
      q8tool ranges merge monday.json tuesday.json --output both.json
      q8tool ranges show both.json
    """


@command.command("merge")
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..")
@output_option(text="The ranges file to write.")
@force_option
@json_option
@debug_option
def merge(parts: Sequence[Path], output_path: Path, force: bool, as_json: bool) -> None:
    """Make one ranges file of several, in any order.

    The result is the file that one calibration over all photos would have written. Ranges that
    were edited by hand stay.

    \b
    Example:
      q8tool ranges merge monday.json tuesday.json --output both.json
    """
    from q8tool.pipelines import calibrate

    result = calibrate.merge(calibrate.MergeOptions(parts, output_path, force))
    if as_json:
        report.print_json(result.to_json())
        return
    rows: list[tuple[str, object]] = [("tensors", len(result.content.ranges))]
    if result.samples:
        rows += [("samples", result.samples), ("calibration", result.method)]
    report.facts([*rows, ("written", result.path)])


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@debug_option
def show(file: Path, as_json: bool) -> None:
    """Print the range of every tensor, and what a code of eight bits is worth in it.

    \b
    Example:
      q8tool ranges show ranges.json
    """
    from q8tool.calibrate.ranges import load_ranges
    from q8tool.numerics.qparams import from_range
    from q8tool.pipelines.calibrate import Report

    result = Report(str(file), load_ranges(file))
    if as_json:
        report.print_json(result.to_json())
        return
    edited = set(result.content.edited) if result.content.statistics else set()
    rows = []
    for name, (low, high) in sorted(result.content.ranges.items()):
        params = from_range(low, high)
        mark = "edited" if name in edited else ""
        rows.append((name, low, high, float(params.scale), int(params.zero_point), mark))
    columns = ["tensor", "low", "high", "step", "zero point", ""]
    if edited:
        report.table(columns, rows)
    else:
        report.table(columns[:-1], [row[:-1] for row in rows])
    if result.samples:
        report.facts([("samples", result.samples), ("calibration", result.method)])
