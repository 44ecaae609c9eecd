"""Options that several commands share, and the types of their values."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

import q8tool

__all__ = [
    "NearChoice",
    "assignments",
    "debug_option",
    "force_option",
    "input_option",
    "isa_option",
    "json_option",
    "name_list",
    "output_option",
    "threads_option",
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
