"""Writes docs/ops.md from what is measured: `python -m tests.ops.operator_page`, or `make docs`."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import onnx

from q8tool.model.composed import COMPOSED
from q8tool.ops.registry import row
from tests.ops.conformance import EXCLUDED, Outcome, outcomes
from tests.ops.foreign_page import foreign_section

PAGE = Path(__file__).parents[2] / "docs" / "ops.md"

_QUANTIZED = {
    "weights": "int8 weights per channel, int32 bias",
    "same": "keeps its input's scale",
    "table": "a table of 256 entries",
    "binary": "two scales in, one out",
    "concat": "one scale for all parts",
    "pool": "a scale of its own",
    "none": "",
}


def page(found: Sequence[Outcome]) -> str:
    """The whole page."""
    sections = [
        _summary(found),
        "## Operators\n\n" + _operators(found),
        foreign_section(),
        "## Cases of quantized operators that stay on the host\n\n" + _left(found),
        "## Cases that run in C\n\n" + _native(found),
    ]
    return "\n\n".join(sections) + "\n"


def written_for() -> str:
    """The version of onnx that the page was written with."""
    found = re.search(r"onnx ([\d.]+)", PAGE.read_text(encoding="utf-8"))
    return found.group(1) if found else ""


def is_quantized(operator: str) -> bool:
    """True if q8tool makes eight-bit operators of it."""
    known = row("", operator)
    return known is not None and known.quantization != "none"


def _summary(found: Sequence[Outcome]) -> str:
    passed = sum(not item.failure and item.name not in EXCLUDED for item in found)
    native = sum(item.is_native for item in found)
    ours = [item for item in found if is_quantized(item.operator)]
    rows = "\n".join(f"| `{name}` | {reason} |" for name, reason in EXCLUDED.items())
    return f"""# Operators

This page is generated (`make docs`) by running every node case of onnx {onnx.__version__} through
`Session`; a test compares it with what runs. Models of any opset from 7 on are meant; what C does
not do runs on the host, through the operators of `onnx.reference` or ours.

| | cases |
|---|---|
| in all | {len(found)} |
| passed | {passed} |
| passed, all of it in C | {native} |
| of operators that are quantized | {len(ours)} |
| of those, all of it in C | {sum(item.is_native for item in ours)} |

Not run:

| case | why |
|---|---|
{rows}"""


def _operators(found: Sequence[Outcome]) -> str:
    cases: dict[str, list[Outcome]] = defaultdict(list)
    for item in found:
        cases[item.operator].append(item)
    versions: dict[str, set[int]] = defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and not schema.deprecated:
            versions[schema.name].add(schema.since_version)
    lines = [
        "| operator | versions | runs | quantized | types in C | cases | in C |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted(versions):
        known, own = row("", name), cases.get(name, [])
        native = [item for item in own if item.is_native]
        types = sorted({kind for item in native for kind in item.types})
        since = ", ".join(map(str, sorted(versions[name])))
        is_native = known is not None and known.native
        runs = "C" if is_native else "C, written out" if name in COMPOSED else "host"
        how = _QUANTIZED[known.quantization] if known is not None else ""
        passed = sum(not item.failure and item.name not in EXCLUDED for item in own)
        cells = [name, since, runs, how, ", ".join(types), f"{passed}/{len(own)}", len(native)]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _left(found: Sequence[Outcome]) -> str:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in found:
        if is_quantized(item.operator) and not item.is_native and item.name not in EXCLUDED:
            groups[item.operator, "; ".join(item.reasons)].append(item.name)
    if not groups:
        return "None."
    lines = ["| operator | why | cases |", "|---|---|---|"]
    for (operator, reason), names in sorted(groups.items()):
        lines.append(f"| {operator} | {reason} | {_listed(names)} |")
    return "\n".join(lines)


def _native(found: Sequence[Outcome]) -> str:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in found:
        if item.is_native:
            groups[item.operator or "functions, expanded"].append(item.name)
    lines = ["| operator | cases |", "|---|---|"]
    lines += [f"| {operator} | {_listed(names)} |" for operator, names in sorted(groups.items())]
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    """Names without what all of them begin with; one that comes twice is counted."""
    counts = Counter(name.removeprefix("test_") for name in names)
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in sorted(counts.items()))


if __name__ == "__main__":
    PAGE.write_text(page(list(outcomes())), encoding="utf-8")
