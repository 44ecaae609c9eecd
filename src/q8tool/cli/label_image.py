"""q8tool label-image: what is on these photos?"""

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

if TYPE_CHECKING:
    from q8tool.pipelines.label_image import Report

__all__ = ["command"]


@click.command("label-image")
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO..."
)
@click.option(
    "--graph", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The model, float or eight-bit.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="FILE",
    help="One label per line; default: those inside the model.",
)  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="K",
              help="How many labels to print.")  # fmt: skip
@preprocessing_options
@click.option("--input-layer", default="", metavar="NAME", help="The input that takes the photo.")
@click.option("--output-layer", default="", metavar="NAME", help="The output with the scores.")
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="FILE",
    help="Run this model (the float one) on the same photos, side by side.",
)  # fmt: skip
@click.option(
    "--expect", metavar="LABEL",
    help="Exit with 4 unless this label, or one that contains it, comes first.",
)  # fmt: skip
@threads_option
@isa_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Label photos: files, folders or patterns.

    Size, mean and deviation come from the model's metadata or from flags, or are tried out.

    \b
    Example:
      q8tool label-image photo.jpg --graph small.onnx --labels labels.txt
    """
    from q8tool.pipelines import label_image

    with report.progress() as bar:
        result = label_image.run(label_image.Options(**options), bar)
    for photo, reason in result.failed:
        report.note(f"skipped {photo}: {reason}")
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    several = len(result.answers) > 1
    for answer in result.answers:
        if several:
            report.line(answer.photo)
        for rank, label in enumerate(answer.labels):
            text = f"{label.name} ({label.index}): {label.probability:.5f}"
            if answer.compared:
                other = answer.compared[rank]
                text = f"{text:<48} {other.name} ({other.index}): {other.probability:.5f}"
            report.line(f"  {text}" if several else text)
    if result.answers[0].compared and several:
        report.note(f"both models agree on {result.agreement:.1%} of {len(result.answers)} photos")
    if result.softmax:
        report.note("the model gives logits: softmax was applied")
    if result.preprocessing.source in ("tried out", "assumed"):
        report.note(f"preprocessing {result.preprocessing}; --preset says it for good")
