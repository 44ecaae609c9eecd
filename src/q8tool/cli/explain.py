"""q8tool explain: what runs for a model, step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import debug_option, isa_option, json_option, threads_option

if TYPE_CHECKING:
    from q8tool.engine.explain import StepInfo
    from q8tool.pipelines.explain import Report

__all__ = ["command"]


@click.command("explain")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Only the N steps that take longest."
)
@threads_option
@isa_option
@json_option
@debug_option
def command(*, as_json: bool, top: int | None, **given: Any) -> None:
    """Show what runs for a model on this CPU: steps, kernels, times.

    The model runs a few times on random input; a step's time is the shortest. Of eight-bit
    products it says what share of the CPU's peak they reach, of float steps in an eight-bit model
    why they are float.

    \b
    Example:
      q8tool explain small.onnx --top 10
    """
    from q8tool.pipelines import explain

    with report.progress() as bar:
        result = explain.run(explain.Options(**given), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result, top)


def _print(result: "Report", top: int | None) -> None:
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    report.facts(
        [
            ("in use", f"{result.isa}, {threads}"),
            ("steps", f"{len(result.steps):,}, {result.macs / 1e6:,.0f} million multiply-adds"),
            ("time", f"{result.nanoseconds / 1e6:.3f} ms"),
            ("peak", f"{result.peak_gops:,.0f} GOP/s: the matrix product in the first cache"),
        ]
    )
    steps = result.steps
    if top is not None:
        steps = sorted(steps, key=lambda step: -step.nanoseconds)[:top]
    total = max(result.nanoseconds, 1)
    report.table(
        [
            "node",
            "operators",
            "kernel",
            "type",
            "µs",
            "time",
            "GOP/s",
            "of peak",
            "why not eight-bit",
        ],
        [_row(result, step, total) for step in steps],
    )


def _row(result: "Report", step: "StepInfo", total: int) -> list[object]:
    more = f" +{len(step.nodes) - 1}" if len(step.nodes) > 1 else ""
    share = result.share_of_peak(step)
    rate = f"{2 * step.macs / step.nanoseconds:.0f}" if step.macs and step.nanoseconds else ""
    return [
        f"{step.nodes[0] if step.nodes else ''}{more}",
        report.shortened(step.op, 40),
        step.kernel,
        step.dtype,
        f"{step.nanoseconds / 1e3:.1f}",
        f"{step.nanoseconds / total:.1%}",
        rate,
        "" if share is None else f"{share:.0%}",
        step.reason,
    ]
