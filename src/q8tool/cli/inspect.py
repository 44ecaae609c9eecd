"""q8tool inspect: what is in a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from q8tool.cli import report
from q8tool.cli.options import debug_option, json_option

if TYPE_CHECKING:
    from q8tool.pipelines.inspect import Port, Report, Values
    from q8tool.pipelines.quantized_tensors import QuantizedTensor

__all__ = ["command"]

# Numbers of one tensor that are printed; --json prints all.
_SHOWN_VALUES = 64
_SHOWN_LABELS = 3


@click.command("inspect")
@click.argument("input_path", type=click.Path(path_type=Path), metavar="MODEL")
@click.option("--tensor", metavar="NAME", help="Print the values of one tensor, codes and reals.")
@json_option
@debug_option
def command(*, as_json: bool, **options: Any) -> None:
    """Show what is in a model.

    Inputs, outputs, metadata, operators, weights by type, and each quantized tensor with the range
    its codes cover. Of a weight, --tensor prints the numbers; of a computed tensor, what some of
    its codes stand for.

    \b
    Example:
      q8tool inspect small.onnx
      q8tool inspect small.onnx --tensor conv1.weight
    """
    from q8tool.pipelines import inspect

    with report.progress() as bar:
        result = inspect.run(inspect.Options(**options), bar)
    if as_json:
        report.print_json(result.to_json())
    elif result.values is not None:
        _print_values(result.values)
    else:
        _print(result)


def _print(result: "Report") -> None:
    versions = ", ".join(f"{domain} {version}" for domain, version in result.opsets.items())
    rows: list[tuple[str, object]] = [
        ("file", f"{result.path}, {report.amount(result.bytes)}"),
        ("format", f"IR version {result.ir_version}, operators of {versions}"),
        ("producer", result.producer or "not stated"),
        *(("input", _port(port)) for port in result.inputs),
        *(("output", _port(port)) for port in result.outputs),
    ]
    if result.labels is not None:
        more = ", ..." if len(result.labels) > _SHOWN_LABELS else ""
        first = ", ".join(result.labels[:_SHOWN_LABELS])
        rows.append(("labels", f"{len(result.labels)}: {first}{more}"))
    if result.preprocess is not None:
        rows += [("preprocess", f"{key} {value}") for key, value in result.preprocess.items()]
    shown = ("q8tool.labels", "q8tool.preprocess")
    rows += [(k, report.shortened(v, 60)) for k, v in result.metadata.items() if k not in shown]
    report.facts(rows)
    report.table(["operator", "nodes"], list(result.op_counts.items()))
    report.table(
        ["weights", "tensors", "numbers", "size"],
        [(w.dtype, w.tensors, w.elements, report.amount(w.bytes)) for w in result.weights],
    )
    if result.quantized:
        report.table(
            ["quantized tensor", "codes", "min", "max", "scale", "zero"],
            [_quantized(tensor) for tensor in result.quantized],
        )


def _port(port: "Port") -> str:
    if port.shape is None:
        return f"{port.name}  {port.dtype}, shape unknown"
    return f"{port.name}  {port.dtype} {' x '.join(str(dim or '?') for dim in port.shape)}".rstrip()


def _quantized(tensor: "QuantizedTensor") -> tuple[object, ...]:
    if tensor.kind == "dynamic":
        return (tensor.name, tensor.dtype, "", "", "at run time", "")
    low, high = tensor.bounds() or (None, None)
    scale, zero_point = _span(tensor.scale), _span(tensor.zero_point)
    return (tensor.name, tensor.dtype, _short(low), _short(high), scale, zero_point)


def _short(number: float | None) -> str:
    return "?" if number is None else f"{number:.3g}"


def _span(array: Any) -> str:
    """One number, or lowest..highest of several."""
    if array is None:
        return "?"
    low, high = _short(float(array.min())), _short(float(array.max()))
    return low if low == high else f"{low}..{high}"


def _print_values(values: "Values") -> None:
    array = values.codes if values.codes is not None else values.reals
    assert array is not None
    shape = " x ".join(map(str, array.shape)) or "one number"
    rows: list[tuple[str, object]] = [("tensor", values.name)]
    if values.stored:
        rows.append(("stored", f"{values.dtype} {shape}"))
    else:
        rows.append(("computed", f"{values.dtype}; what some of its codes stand for:"))
    if values.reals is not None and values.reals.size and values.reals.dtype.kind == "f":
        rows.append(("min, max", f"{values.reals.min():.6g}, {values.reals.max():.6g}"))
    report.facts(rows)
    flat = array.reshape(-1)[:_SHOWN_VALUES]
    reals = None if values.reals is None else values.reals.reshape(-1)[:_SHOWN_VALUES]
    if values.codes is None:
        report.table(["index", "real"], [(i, item.item()) for i, item in enumerate(flat)])
    else:
        known = ["?"] * len(flat) if reals is None else [item.item() for item in reals]
        report.table(
            ["index", "code", "real"],
            [
                (i, code.item(), real)
                for i, (code, real) in enumerate(zip(flat, known, strict=True))
            ],
        )
    if array.size > len(flat):
        report.note(f"{array.size - len(flat):,} more numbers; --json prints all")
