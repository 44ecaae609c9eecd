"""q8tool verify: what an eight-bit file says of itself, computed again."""

from pathlib import Path
from typing import Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    debug_option,
    json_option,
    preprocessing_options,
    sample_options,
    threads_option,
    truth_options,
)
from q8tool.errors import ExpectationError

__all__ = ["command"]


@click.command("verify")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--float", "float_model", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The float model that it was made from.",
)  # fmt: skip
@sample_options("that were given to quantize")
@truth_options
@preprocessing_options
@threads_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Compute again what an eight-bit file claims: its source, its photos, its agreement.

    Exit with 4 if a claim does not hold. Give the photos that quantize was given: it held some
    back, and the claims are about those.

    \b
    Example:
      q8tool verify small.onnx --float model.onnx --images photos/
    """
    from q8tool.pipelines import verify

    with report.progress() as bar:
        result = verify.run(verify.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        rows = [
            (row.claim, _short(row.stated), _short(row.found), "holds" if row.holds else "differs")
            for row in result.checked
        ]
        report.table(["claim", "stated", "found", ""], rows)
    if result.broken:
        raise ExpectationError(
            f"{result.path}: does not keep what it says: {', '.join(result.broken)}"
        )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    text = "none" if value is None else str(value)
    return f"{text[:12]}…" if len(text) > 32 else text
