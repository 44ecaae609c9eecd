"""q8tool label-image: what is on these photos?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    debug_option,
    isa_option,
    json_option,
    preprocessing_options,
    threads_option,
)
from q8tool.errors import ExpectationError

if TYPE_CHECKING:
    from q8tool.pipelines.label_image import Answer, Options, Report
    from q8tool.pipelines.preprocessing import SpecOptions

__all__ = ["command"]


@click.command("label-image")
@click.argument("photos", nargs=-1, type=click.Path(path_type=Path), metavar="PHOTO...")
@click.option(
    "--image", "more_photos", multiple=True, type=click.Path(path_type=Path), hidden=True
)  # the spelling of 2016
@click.option(
    "--graph", "--input-graph", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The model, float or eight-bit.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="FILE",
    help="One label per line; default: those inside the model.",
)  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="K",
              help="How many labels to print.")  # fmt: skip
@preprocessing_options
@click.option(
    "--input-width", type=click.IntRange(1), metavar="N", help="The width in --size alone."
)
@click.option(
    "--input-height", type=click.IntRange(1), metavar="N", help="The height in --size alone."
)
@click.option("--input-layer", default="", metavar="NAME", help="The input that takes the photo.")
@click.option("--output-layer", default="", metavar="NAME", help="The output with the scores.")
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="FILE",
    help="Run this model (the float one) on the same photos, side by side.",
)  # fmt: skip
@click.option(
    "--expect", metavar="LABEL",
    help="Exit with 4 unless this label, or one with these words in it, comes first.",
)  # fmt: skip
@threads_option
@isa_option
@json_option
@debug_option
def command(
    *,
    as_json: bool,
    photos: Sequence[Path],
    more_photos: Sequence[Path],
    preprocessing: "SpecOptions",
    input_width: int | None,
    input_height: int | None,
    **given: Any,
) -> None:
    """Label photos: files, folders or patterns.

    Size, mean and deviation come from the model's metadata or from flags, or are tried out. A
    photo that cannot be read is skipped, and named at the end.

    \b
    Example:
      q8tool label-image photo.jpg --graph small.onnx --labels labels.txt
    """
    from q8tool.pipelines import label_image

    if not photos and not more_photos:
        raise click.UsageError("missing argument 'PHOTO...'")
    if preprocessing.size and (input_width or input_height):
        raise click.UsageError("--size and --input-width or --input-height exclude each other")
    size = replace(preprocessing, width=input_width, height=input_height)
    options = label_image.Options([*photos, *more_photos], preprocessing=size, **given)
    with report.progress() as bar:
        result = label_image.run(options, bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result, options)
    _check_expectation(result, options)


def _print(result: "Report", options: "Options") -> None:
    several = len(result.answers) > 1
    for answer in result.answers:
        if answer.compared:
            _print_side_by_side(answer, options)
            continue
        if several:
            report.line(answer.photo)
        for label in answer.labels:
            indent = "  " if several else ""
            report.line(f"{indent}{label.name} ({label.index}): {label.probability:.5f}")
    if options.compare is not None and several:
        share = f"{result.agreement:.1%} of {len(result.answers)} photos"
        report.line(f"both put the same label first for {share}")
    _print_notes(result)


def _print_side_by_side(answer: "Answer", options: "Options") -> None:
    assert options.compare is not None
    models = [options.graph, options.compare]
    names = [path.name for path in models]
    if names[0] == names[1]:
        names = [str(path) for path in models]
    rows = [
        (
            f"{label.name} ({label.index})",
            f"{label.probability:.5f}",
            "-" if label.other is None else f"{label.other:.5f}",
        )
        for label in answer.labels
    ]
    report.table([answer.photo, *names], rows)
    if not answer.agrees:
        first = answer.compared[0]
        report.line(f"{names[1]} puts {first.name} ({first.index}) first: {first.probability:.5f}")


def _print_notes(result: "Report") -> None:
    for photo, reason in result.failed:
        report.note(f"skipped {photo}: {reason}")
    for warning in result.warnings:
        report.note(f"warning: {warning}")
    if result.softmax:
        report.note("the model gives logits: softmax was applied")
    if result.preprocessing.source in ("tried out", "assumed"):
        report.note(f"preprocessing {result.preprocessing}; --preset says it for good")


def _check_expectation(result: "Report", options: "Options") -> None:
    if not result.missed:
        return
    photo, first = result.missed[0]
    others = len(result.missed) - 1
    more = f", and {others} more photo{'s miss' if others > 1 else ' misses'} it" if others else ""
    raise ExpectationError(f"{photo}: '{first}' comes first, expected '{options.expect}'{more}")
