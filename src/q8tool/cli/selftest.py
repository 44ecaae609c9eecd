"""q8tool selftest: does this machine compute what it should?"""

from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import debug_option, json_option
from q8tool.errors import Q8Error

if TYPE_CHECKING:
    from q8tool.pipelines.selftest import Report, Row

__all__ = ["command"]


@click.command("selftest")
@click.option("--isa", metavar="NAME", help="Test only this instruction set; default: all.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, metavar="N",
    help="Of the random values.",
)  # fmt: skip
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Test the kernels of this CPU against the reference, byte for byte.

    Also shows which instruction set is used and how fast its matrix product is on one core. The
    environment variable Q8_ISA chooses a lower one. Exits with 1 if a kernel computes wrong.

    \b
    Example:
      q8tool selftest
      Q8_ISA=avx2 q8tool selftest --seed 7
    """
    from q8tool.pipelines import selftest

    with report.progress() as bar:
        result = selftest.run(selftest.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)
    if result.mismatches:
        raise Q8Error(
            result.mismatches[0], "Q8_ISA=scalar is the reference; please report this with the CPU"
        )


def _print(result: "Report") -> None:
    reason = f"as Q8_ISA={result.variable} says" if result.variable else "the best of this CPU"
    report.facts([("CPU", result.cpu), ("in use", f"{result.active}, {reason}")])
    report.table(
        ["instruction set", "kernels", "comparisons", "GOP/s, one core"],
        [
            (row.isa, _verdict(row), row.comparisons, "" if row.gops is None else f"{row.gops:.1f}")
            for row in result.rows
        ],
    )


def _verdict(row: "Row") -> str:
    if not row.is_available:
        return "not on this CPU"
    if row.mismatch:
        return "wrong"
    return "not tested" if row.comparisons is None else "equal the reference"
