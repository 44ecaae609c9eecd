"""Options that several commands share, and the types of their values."""

import difflib
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click

import q8tool

__all__ = [
    "FiniteRange",
    "NearChoice",
    "assignments",
    "calibration_option",
    "debug_option",
    "force_option",
    "input_option",
    "isa_option",
    "json_option",
    "name_list",
    "one_thread_for_matrices",
    "output_option",
    "preprocessing_options",
    "sample_options",
    "share",
    "threads_option",
    "truth_options",
    "version_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class NearChoice(click.Choice[str]):
    """A choice that names the nearest one when the value is none of them."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """One line, and the nearest choice as a hint on a second."""
        choices = [str(choice) for choice in self.choices]
        message = f"'{value}' is not one of {', '.join(choices)}"
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f"{message}\ndid you mean {near[0]}?" if near else message


def assignments(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> dict[str, int]:
    """Callback: NAME=NUMBER, given any number of times, as a dict; numbers from 1."""
    found = {}
    for value in values:
        name, _, number = value.rpartition("=")
        if not name or not number.isdigit() or int(number) < 1:
            raise click.BadParameter(
                f"'{value}' is not NAME=NUMBER with a number from 1", ctx, param
            )
        found[name] = int(number)
    return found


def name_list(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
    """Callback: names separated by commas, as a list; empty if the option is not given."""
    if value is None:
        return []
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"'{value}' holds an empty name", ctx, param)
    return names


def input_option(*aliases: str, text: str = "The model to read.") -> Callable[[F], F]:
    """--input FILE, required; aliases are further spellings, such as 2016's."""
    return click.option(
        "--input", *aliases, "input_path", type=click.Path(path_type=Path), required=True,
        metavar="FILE", help=text,
    )  # fmt: skip


def output_option(*aliases: str, text: str = "The model to write.") -> Callable[[F], F]:
    """--output FILE, required; aliases are further spellings, such as 2016's."""
    return click.option(
        "--output", "-o", *aliases, "output_path", type=click.Path(path_type=Path), required=True,
        metavar="FILE", help=text,
    )  # fmt: skip


def force_option(function: F) -> F:
    """--force: overwrite the output."""
    return click.option("--force", is_flag=True, help="Overwrite an existing output.")(function)


def json_option(function: F) -> F:
    """--json: the report as JSON on stdout instead of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(
        function
    )


def sample_options(text: str) -> Callable[[F], F]:
    """--images and --data: photos or arrays to run the model on. text: what for."""

    def with_options(function: F) -> F:
        images = click.option(
            "--images", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
            help=f"Photos {text}: a folder, a file or a pattern. Repeatable.",
        )  # fmt: skip
        data = click.option(
            "--data", type=click.Path(path_type=Path), metavar="FILE",
            help="Arrays instead of photos: an .npz with one array per input, samples first.",
        )  # fmt: skip
        return images(data(function))

    return with_options


def truth_options(function: F) -> F:
    """--labels-csv and --label-offset: which class a photo really is."""
    table = click.option(
        "--labels-csv", type=click.Path(path_type=Path), metavar="FILE",
        help="True classes of photos: a table with columns file and class_index or class_name. "
        "Folders named after the model's labels need none.",
    )  # fmt: skip
    offset = click.option(
        "--label-offset", type=int, default=0, metavar="N",
        help="Added to class numbers of --labels-csv, such as 1 where class 0 is the background.",
    )  # fmt: skip
    return table(offset(function))


class FiniteRange(click.FloatRange):
    """A range of numbers; NaN, which compares with nothing, and infinity are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number. Raises click.BadParameter for one that is not finite or out of range."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"'{value}' is no finite number", param, ctx)
        return found


def share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback: 0.5% or 0.005, a share 0..1."""
    if value is None:
        return None
    number, percent = value.strip().rstrip("%"), value.strip().endswith("%")
    try:
        found = float(number) / (100.0 if percent else 1.0)
    except ValueError:
        found = -1.0
    if not 0.0 <= found <= 1.0:
        raise click.BadParameter(f"'{value}' is no share, such as 0.5% or 0.005", ctx, param)
    return found


def calibration_option(function: F) -> F:
    """--calibration METHOD: how a range follows from samples."""
    return click.option(
        "--calibration", type=NearChoice(
            ["minmax", "photo-percentile", "percentile", "mse", "weighted-mse"]
        ),
        default="weighted-mse", show_default=True,
        help="Range from samples: all of it; without the most extreme 5 % of the photos; without "
        "the most extreme 0.01 % of the values; that of the smallest squared error; or the same "
        "with clipping counted twice.",
    )(function)  # fmt: skip


def preprocessing_options(function: F) -> F:
    """How photos become the input: --preset, --size, --mean, --std, --resize.

    They arrive as one argument, preprocessing: a pipelines.preprocessing.SpecOptions.
    """

    @functools.wraps(function)
    def with_options(*args: Any, **kwargs: Any) -> Any:
        from q8tool.pipelines.preprocessing import SpecOptions

        names = ("preset", "size", "mean", "std", "resize")
        values = {name: kwargs.pop(name) for name in names}
        preset = values.pop("preset") or ""
        return function(*args, preprocessing=SpecOptions(preset, **values), **kwargs)

    for option in reversed(
        [
            click.option(
                "--preset", type=NearChoice(["mobilenet", "imagenet", "unit", "raw"]),
                help="How pixels become numbers: -1..1; by ImageNet's mean and deviation; 0..1; "
                "0..255. Default: what the model says, else tried out on a few photos.",
            ),
            click.option(
                "--size", callback=_height_and_width, metavar="N|HxW",
                help="Height and width of the input, where the model leaves them open.",
            ),
            click.option(
                "--mean", "--input-mean", "--mean-value", callback=_numbers, metavar="M[,M,M]",
                help="Subtracted from pixels 0..255, per channel.",
            ),
            click.option(
                "--std", "--input-std", "--std-value", callback=_numbers, metavar="S[,S,S]",
                help="Then divided by, per channel.",
            ),
            click.option(
                "--resize", type=NearChoice(["crop", "stretch"]),
                help="stretch: the whole photo (default). crop: keep shapes, cut the centre out.",
            ),
        ]
    ):  # fmt: skip
        with_options = option(with_options)
    return cast(F, with_options)


def _height_and_width(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Callback: 224 or 240x320 as (height, width)."""
    if value is None:
        return None
    sides = value.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise click.BadParameter(f"'{value}' is neither N nor HEIGHTxWIDTH", ctx, param)
    return int(sides[0]), int(sides[-1])


def _numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Callback: one number, or one per channel; 0 is a number."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        message = f"'{value}' is not numbers separated by commas"
        raise click.BadParameter(message, ctx, param) from None
    if len(numbers) not in (1, 3) or not all(math.isfinite(number) for number in numbers):
        raise click.BadParameter(f"'{value}' is neither one number nor three", ctx, param)
    if param.name == "std" and 0.0 in numbers:
        raise click.BadParameter("0 cannot be divided by", ctx, param)
    return numbers


def threads_option(function: F) -> F:
    """--threads N: how many threads the engine uses."""
    return click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N",
        help="Threads of the engine; default: one per core.",
    )(function)  # fmt: skip


def isa_option(function: F) -> F:
    """--isa NAME: the kernels the engine uses, at most what this CPU has."""
    return click.option(
        "--isa", metavar="NAME", help="Kernels to use, such as scalar, avx2 or neon; default: best."
    )(function)


def debug_option(function: F) -> F:
    """--debug: a traceback with every error; main() looks for it, commands need not."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, help="Show a traceback with errors."
    )(function)


def version_option(function: F) -> F:
    """--version: print it and leave."""
    return click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
        help="Print the version and exit.",
    )(function)  # fmt: skip


def _show_version(ctx: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if not is_asked or ctx.resilient_parsing:
        return
    click.echo(f"q8tool {q8tool.__version__}")
    ctx.exit()


def one_thread_for_matrices(function: F) -> F:
    """A command that says so to numpy's library, before anything loads numpy.

    Its threads would add up in another order on every machine, and they wait for each other in a
    loop, which takes minutes where cores are busy.
    """

    @functools.wraps(function)
    def with_one_thread(*args: Any, **kwargs: Any) -> Any:
        for library in ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "VECLIB_MAXIMUM"):
            os.environ.setdefault(f"{library}_THREADS", "1")
        return function(*args, **kwargs)

    return cast(F, with_one_thread)
