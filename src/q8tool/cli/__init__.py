"""The command line; the only floor that knows click and prints."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from q8tool.cli import report
from q8tool.cli.group import LazyGroup
from q8tool.cli.interrupts import INTERRUPTED, MESSAGE, Interrupts
from q8tool.cli.options import debug_option, version_option
from q8tool.errors import NativeError, Q8Error

__all__ = ["cli", "main"]

_BROKEN_PIPE = 141


@click.group(
    cls=LazyGroup,
    modules={
        "freeze": "q8tool.cli.freeze",
        "quantize": "q8tool.cli.quantize",
        "calibrate": "q8tool.cli.calibrate",
        "ranges": "q8tool.cli.ranges",
        "compare": "q8tool.cli.compare",
        "verify": "q8tool.cli.verify",
        "strip-conversions": "q8tool.cli.strip_conversions",
        "label-image": "q8tool.cli.label_image",
        "retrain": "q8tool.cli.retrain",
        "inspect": "q8tool.cli.inspect",
        "explain": "q8tool.cli.explain",
        "bench": "q8tool.cli.bench",
        "selftest": "q8tool.cli.selftest",
        "demo": "q8tool.cli.demo",
    },
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@version_option
@debug_option
def cli() -> None:
    """Turn a float ONNX model into an eight-bit one, measure it, and run it fast on a CPU.

    \b
    Example:
      q8tool freeze --input model.onnx --output frozen.onnx
      q8tool quantize --input frozen.onnx --output small.onnx --images photos/
      q8tool label-image photo.jpg --graph small.onnx
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; messages go to stderr, one line each.

    arguments   without the program's name; sys.argv if None
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    report.make_streams_ready()
    interrupts = Interrupts()
    try:
        with interrupts.handled():
            return _run(words)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except (BrokenPipeError, SystemExit):
        # Whoever read our output left (click answers that with sys.exit); keep Python from
        # complaining about it when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (Q8Error, click.ClickException, Exception) as error:
        if "--debug" in words:
            traceback.print_exc()
        # A library that was interrupted may have made another error of it.
        return _interrupted() if interrupts.came else report.failure(_cause(error, words))


def _cause(error: Exception, words: list[str]) -> Exception:
    """The error; of one that nobody foresaw, what is wrong with a model among the words."""
    is_foreseen = isinstance(error, Q8Error) and not isinstance(error, NativeError)
    if is_foreseen or isinstance(error, click.ClickException | OSError | MemoryError):
        return error
    from q8tool.pipelines.soundness import fault

    found = (fault(Path(word.partition("=")[2] or word)) for word in words)
    return next((reason for reason in found if reason is not None), error)


def _interrupted() -> int:
    report.error(MESSAGE)
    return INTERRUPTED


def _run(words: list[str]) -> int:
    result = cli.main(args=words, prog_name="q8tool", standalone_mode=False)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0
