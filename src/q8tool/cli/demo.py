"""q8tool demo: the whole chain on drawn flowers, command by command as one would type it."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from q8tool.cli import report
from q8tool.cli.options import debug_option

__all__ = ["command"]

# What is said about each command, and the command.
STEPS = (
    (
        "Teach a small network to tell the flowers apart; in float and in eight bits.",
        "retrain --image-dir pictures -o own.onnx --bottleneck-dir cache",
    ),
    (
        "The float one, self-contained: fold what does not depend on the photo.",
        "freeze --input own.float.onnx --output frozen.onnx",
    ),
    (
        "Eight bits without any data: ranges from the operators, or taken at run time.",
        "quantize --input frozen.onnx --output loose.onnx --no-strip",
    ),
    (
        "Remove conversions that cancel; without --no-strip, quantize does that itself.",
        "strip-conversions --input loose.onnx --output nodata.onnx",
    ),
    (
        "Eight bits again, the ranges measured on photos, and compared on some of them.",
        "quantize --input frozen.onnx --output small.onnx --images pictures",
    ),
    (
        "What is on the photo? What retrain made of it beside the float model.",
        "label-image sunflower.jpg --graph own.onnx --compare own.float.onnx",
    ),
)


@click.command("demo")
@click.argument(
    "folder", required=False, default="q8tool-demo", type=click.Path(path_type=Path), metavar="DIR"
)
@click.option("--force", is_flag=True, help="Use DIR even if other files are in it.")
@debug_option
def command(folder: Path, **options: Any) -> None:
    """Show the whole chain on drawn flowers.

    Draws flowers into DIR (q8tool-demo if not given), and runs the commands that learn to tell
    them apart, make the result eight-bit and label a picture, each printed before its output.

    \b
    Example:
      q8tool demo
    """
    from q8tool.pipelines import demo

    with report.progress() as bar:
        count = demo.run(demo.Options(folder, **options), bar)
    _say(f"{count} drawn pictures of flowers, in {folder}/{demo.PICTURES}/")
    _show(f"cd {shlex.quote(str(folder))}")
    entry = click.get_current_context().find_root().command
    with _inside(folder):
        for text, words in STEPS:
            report.line()
            _say(text)
            _show(f"q8tool {words}")
            entry.main(shlex.split(words), prog_name="q8tool", standalone_mode=False)
            sys.stdout.flush()


def _say(text: str) -> None:
    _print(f"# {text}", fg="green")


def _show(words: str) -> None:
    _print(f"$ {words}", bold=True)


def _print(text: str, **style: Any) -> None:
    # click takes colours away where stdout is no terminal, but does not know https://no-color.org.
    click.secho(text, color=False if os.environ.get("NO_COLOR") else None, **style)
    sys.stdout.flush()


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
