"""selftest: the kernels of every instruction set of this CPU against the scalar reference."""

import os
from dataclasses import dataclass
from typing import Any

from q8tool import native
from q8tool.errors import NativeError
from q8tool.native.cpu import check_isa
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Options", "Report", "Row", "run"]


@dataclass(frozen=True)
class Options:
    """isa: the one instruction set to test, None: all of this CPU. seed: of the random values."""

    isa: str | None = None
    seed: int = 1


@dataclass(frozen=True)
class Row:
    """One instruction set that is compiled in.

    comparisons  with the reference, all equal; None: not tested, or not equal
    mismatch     the first difference, in words; empty if there is none
    gops         peak of the matrix product on one core, 1e9 operations per second
    """

    isa: str
    is_available: bool
    comparisons: int | None = None
    mismatch: str = ""
    gops: float | None = None


@dataclass(frozen=True)
class Report:
    """What was found; variable: what Q8_ISA says, which then chose the active one."""

    cpu: str
    active: str
    variable: str
    seed: int
    rows: list[Row]

    @property
    def mismatches(self) -> list[str]:
        """What differs from the reference; nothing if all is well."""
        return [row.mismatch for row in self.rows if row.mismatch]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "cpu": self.cpu,
            "active": self.active,
            "q8_isa": self.variable or None,
            "seed": self.seed,
            "passed": not self.mismatches,
            "instruction_sets": [
                {
                    "name": row.isa,
                    "available": row.is_available,
                    "comparisons": row.comparisons,
                    "mismatch": row.mismatch or None,
                    "gops": row.gops if row.gops is None else round(row.gops, 1),
                }
                for row in self.rows
            ],
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Test kernels on random and extreme values.

    Raises UsageError for an instruction set, given or in Q8_ISA, that this CPU has not.
    """
    active = native.isa_active()
    check_isa(options.isa)
    names = native.isa_names()
    rows = []
    for done, name in enumerate(names):
        progress("testing", done, len(names))
        is_available = native.isa_available(name)
        is_asked_for = is_available and options.isa in (None, name)
        rows.append(_tested(name, options.seed) if is_asked_for else Row(name, is_available))
    return Report(native.cpu_name(), active, os.environ.get("Q8_ISA", ""), options.seed, rows)


def _tested(name: str, seed: int) -> Row:
    try:
        comparisons = native.selftest(name, seed)
    except NativeError as error:
        return Row(name, True, mismatch=error.message)
    return Row(name, True, comparisons, gops=native.selftest_gops(name))
