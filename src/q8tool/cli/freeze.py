"""q8tool freeze: a model that needs nothing but its inputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import (
    assignments,
    debug_option,
    force_option,
    input_option,
    json_option,
    name_list,
    output_option,
)

if TYPE_CHECKING:
    from q8tool.pipelines.freeze import Report

__all__ = ["command"]


@click.command("freeze")
@input_option("--input-graph", text="The model to freeze (2016: --input-graph).")
@output_option("--output-graph", text="The frozen model (2016: --output-graph).")
@click.option(
    "--checkpoint", "--input-checkpoint", type=click.Path(path_type=Path), metavar="FILE",
    help="Weights by name, .npz or .safetensors (2016: --input-checkpoint).",
)  # fmt: skip
@click.option(
    "--output-names", "--output-node-names", callback=name_list, metavar="NAME,...",
    help="Keep only what these outputs need; default: all (2016: --output-node-names).",
)  # fmt: skip
@click.option(
    "--dim", "dimensions", multiple=True, callback=assignments, metavar="NAME=N",
    help="Fix a symbolic dimension of the inputs, such as N=1. Repeatable.",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="PATTERN",
    help="Take only these weights from the checkpoint (conv*). Repeatable.",
)  # fmt: skip
@click.option(
    "--keep", multiple=True, metavar="PATTERN",
    help="Keep these weights as the model has them (*.bias). Repeatable.",
)  # fmt: skip
@force_option
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Make a model self-contained and simple, with the same answers.

    Fills in weights from a checkpoint, makes weights constants, fixes dimensions, folds constants
    and BatchNormalization, drops what only training needs, prunes to the outputs. Original and
    result run on the same random input before anything is written.

    \b
    Example:
      q8tool freeze --input model.onnx --output frozen.onnx --dim N=1
    """
    from q8tool.pipelines import freeze

    with report.progress() as bar:
        result = freeze.run(freeze.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Report") -> None:
    before, after = result.op_counts
    rows = [
        (name, before.get(name, 0), after.get(name, 0))
        for name in dict.fromkeys([*before, *after])
        if before.get(name, 0) != after.get(name, 0)
    ]
    if rows:
        report.table(["operator", "before", "after"], rows)
    for side, names in (("model", result.not_in_checkpoint), ("checkpoint", result.not_in_model)):
        for name in names:
            report.line(f"only in the {side}: {name}")
    report.facts(
        [
            ("nodes", f"{sum(before.values())} -> {sum(after.values())}"),
            ("size", " -> ".join(report.amount(size) for size in result.sizes)),
            ("same answers", f"yes, {_difference(result):.1e} apart at most, on random input"),
            ("written", result.output),
        ]
    )


def _difference(result: "Report") -> float:
    return max(result.differences.values(), default=0.0)
