"""Instruction sets: which are compiled in, which this CPU has, and whether they compute right."""

import os

from q8tool.errors import NativeError, UsageError
from q8tool.native._q8 import ffi, lib

__all__ = [
    "check_isa",
    "core_count",
    "cpu_name",
    "isa_active",
    "isa_available",
    "isa_names",
    "selftest",
    "selftest_gops",
]

SELFTEST_TEXT_BYTES = 512


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def isa_names() -> list[str]:
    """Instruction sets that are compiled in, the slowest first; "scalar" is always there."""
    return [_text(lib.q8_isa_name(index)) for index in range(lib.q8_isa_count())]


def isa_available(name: str) -> bool:
    """Whether this CPU runs the instruction set `name`; False for an unknown name."""
    names = isa_names()
    return name in names and bool(lib.q8_isa_available(names.index(name)))


def isa_active() -> str:
    """The instruction set that a plan gets by default: the best one, or what Q8_ISA says.

    Raises UsageError if the environment variable Q8_ISA names one that is not there.
    """
    if lib.q8_init() < 0:
        raise _no_such_isa(os.environ.get("Q8_ISA", ""), "environment variable Q8_ISA: ")
    return _text(lib.q8_isa_active())


def check_isa(name: str | None) -> str:
    """`name` if this CPU has that instruction set, the active one for None; else UsageError."""
    active = isa_active()
    if name is None:
        return active
    if not isa_available(name):
        raise _no_such_isa(name)
    return name


def cpu_name() -> str:
    """The processor's own name, for reports."""
    return _text(lib.q8_cpu_name())


def selftest(isa: str | None = None, seed: int = 1) -> int:
    """Test every kernel of `isa` against the scalar reference on random and extreme values.

    Returns the number of comparisons made. Raises NativeError that describes the first mismatch,
    UsageError for an instruction set that is not there.
    """
    name = check_isa(isa)
    text = ffi.new("char[]", SELFTEST_TEXT_BYTES)
    count = int(lib.q8_selftest(name.encode(), seed, text, SELFTEST_TEXT_BYTES))
    if count < 0:
        raise NativeError(f"selftest of {name}, seed {seed}: {_text(text)}")
    return count


def selftest_gops(isa: str | None = None, milliseconds: int = 100) -> float:
    """Peak of the GEMM kernel of `isa` on one core, in 1e9 operations per second.

    A multiply-add counts as two operations. Measures for about `milliseconds`. Raises UsageError
    for an instruction set that is not there.
    """
    return float(lib.q8_selftest_gops(check_isa(isa).encode(), milliseconds))


def _text(cdata: object) -> str:
    return ffi.string(cdata).decode("utf-8", "replace")  # type: ignore[arg-type]


def _no_such_isa(name: str, where: str = "") -> UsageError:
    here = ", ".join(n for n in isa_names() if isa_available(n))
    problem = "not on this CPU" if name in isa_names() else "unknown"
    return UsageError(f"{where}instruction set {name!r} is {problem}", f"this CPU has {here}")
