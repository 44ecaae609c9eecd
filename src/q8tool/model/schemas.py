"""What the standard's checker checks of a single node, without the standard's library.

Loading onnx takes longer than reading most models. So plain files (plain_file.py) are held to the
table of schema_table.py; whatever this does not accept goes to onnx's own checker, which knows the
reason.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from q8tool.model.schema_table import TABLE

__all__ = ["Schema", "is_regular", "schema"]


class Schema(NamedTuple):
    """One version of an operator.

    inputs, outputs          one letter each: x needed, ? may be left out, * any number
    least_inputs, least_outputs   how many there must be
    attributes               their kinds by name: f, i, s, t, F, I, S, "-" for others
    needed                   names of attributes that must be there
    """

    inputs: str
    least_inputs: int
    outputs: str
    least_outputs: int
    attributes: dict[str, str]
    needed: frozenset[str]


@cache
def schema(op_type: str, opset: int) -> Schema | None:
    """The operator of the standard domain as that operator set has it; None if it is not known."""
    found = None
    for since, text in _rows().get(op_type, ()):
        if since <= opset:
            found = text
    return None if found is None or found == "deprecated" else _parsed(found)


def is_regular(
    known: Schema,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Iterable[tuple[str, str]],
) -> bool:
    """Whether a node has the inputs, the least outputs and the attributes of its operator.

    attributes  name and kind of each

    Outputs that may be left out count as irregular: operators allow only some numbers of them.
    """
    if not _fits(known.inputs, known.least_inputs, inputs):
        return False
    if not all(outputs) or not (len(outputs) == known.least_outputs or "*" in known.outputs):
        return False
    given = dict(attributes)
    return known.needed.issubset(given) and all(
        known.attributes.get(name) == kind for name, kind in given.items()
    )


def _fits(kinds: str, least: int, names: Sequence[str]) -> bool:
    if len(names) < least:
        return False
    if kinds.endswith("*"):
        return all(names)
    return len(names) <= len(kinds) and all(
        name or kind == "?" for name, kind in zip(names, kinds, strict=False)
    )


@cache
def _rows() -> dict[str, list[tuple[int, str]]]:
    """Versions and what they say, by operator, oldest first."""
    rows: dict[str, list[tuple[int, str]]] = {}
    for line in TABLE.strip().replace("\n  ", " ").splitlines():
        op_type, since, text = line.split(" ", 2)
        rows.setdefault(op_type, []).append((int(since), text))
    return rows


def _parsed(text: str) -> Schema:
    least_inputs, inputs, least_outputs, outputs, *described = text.split()
    pairs = [entry.rstrip("!").split(":") for entry in described]
    return Schema(
        inputs=inputs.strip("-"),
        least_inputs=int(least_inputs),
        outputs=outputs,
        least_outputs=int(least_outputs),
        attributes=dict(pairs),
        needed=frozenset(e.rstrip("!").split(":")[0] for e in described if e.endswith("!")),
    )
