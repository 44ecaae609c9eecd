"""q8tool bench: models and engines side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import debug_option, json_option, name_list

if TYPE_CHECKING:
    from q8tool.pipelines.bench import Report, Row

__all__ = ["command"]

ENGINES = ("onnxruntime", "openvino")


def _engines(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
    """Callback: names of engines, separated by commas."""
    names = name_list(ctx, param, value)
    for name in names:
        if name not in ENGINES:
            raise click.BadParameter(f"'{name}' is not one of {', '.join(ENGINES)}", ctx, param)
    return names


def _counts(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    """Callback: numbers from 1, separated by commas."""
    names = name_list(ctx, param, value)
    if not all(name.isdigit() and int(name) >= 1 for name in names):
        raise click.BadParameter(f"'{value}' is not a list of numbers from 1", ctx, param)
    return [int(name) for name in names]


@click.command("bench")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, metavar="MODEL...")
@click.option(
    "--against", callback=_engines, metavar="NAME[,NAME]",
    help=f"Engines that run the same files: {', '.join(ENGINES)}.",
)  # fmt: skip
@click.option(
    "--threads", callback=_counts, default="1", show_default=True, metavar="N[,N]",
    help="How many threads; each number is a measurement of its own.",
)  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, metavar="N",
    help="How many at once, where the models leave it open.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(1), default=15, show_default=True, metavar="N",
    help="How often all contenders take their turn.",
)  # fmt: skip
@json_option
@debug_option
def command(*, as_json: bool, models: Sequence[Path], **given: Any) -> None:
    """Time models side by side, on random input.

    The first model on our engine is what everything is compared with: a ratio above 1 is slower.
    Every contender is a process of its own; they take turns, so that a slow moment of the machine
    hits all alike.

    \b
    Example:
      q8tool bench small.onnx model.onnx --against onnxruntime --threads 1,2
    """
    from q8tool.pipelines import bench

    if not models:
        raise click.UsageError("missing argument 'MODEL...'")
    with report.progress() as bar:
        result = bench.run(bench.Options(models, **given), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    report.table(
        ["model, engine", "threads", "ms", "ratio", "load ms", "peak MB"],
        [_row(row) for row in result.rows],
    )
    for row in result.rows:
        if row.failure:
            report.note(f"{row.title}: {row.failure}")


def _row(row: "Row") -> list[object]:
    if row.failure:
        return [row.title, row.threads, "-", "-", "-", "-"]
    return [
        row.title,
        row.threads,
        f"{row.milliseconds:.3f}",
        f"{row.ratio:.2f}",
        f"{row.load_ms:.0f}",
        f"{row.peak_mb:.0f}",
    ]
