"""A program in two stages: the second is compiled when the first has told the shapes it needs.

feeds -> first program -> shapes, sizes -> second program (kept per shapes and sizes) -> results
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.explain import StepInfo
from q8tool.engine.program import Runnable, Signature, signature_of

__all__ = ["StagedProgram"]

Array = NDArray[Any]
# Second stages of so many different shapes are kept.
_KEPT = 4
# So many are built for the values of sizes; further ones only for shapes.
_BUILT_FOR_VALUES = 32


class StagedProgram(Runnable):
    """Two programs, of which the second is compiled while it runs.

    first     gives every value that the second stage reads and the caller does not feed
    reads     names of what the second stage reads
    deciding  those of them for whose values it is compiled
    wanted    names of what run returns, in order
    build     the second stage for types and shapes, and for values of some inputs
    whole     the same program in one stage, with what it does on the host: what infos tells
              before anything has run
    """

    def __init__(
        self,
        first: Runnable,
        reads: Sequence[str],
        deciding: Collection[str],
        wanted: Sequence[str],
        build: Callable[[Signature, Mapping[str, Array]], Runnable],
        whole: Callable[[], Runnable],
    ) -> None:
        self._first = first
        self._reads = list(reads)
        self._deciding = sorted(deciding)
        self._wanted = list(wanted)
        self._build = build
        self._whole = whole
        self._kept: OrderedDict[Any, Runnable] = OrderedDict()
        self._lock = threading.Lock()
        self._last: Runnable | None = None
        self._built = 0

    def infos(self) -> list[StepInfo]:
        """Of the second stage, its steps for the shapes of the last run."""
        if self._last is None:
            return self._whole().infos()
        return [*self._first.infos(), *self._last.infos()]

    def run(
        self, feeds: Mapping[str, Array], threads: int, times: list[int] | None = None
    ) -> dict[str, Array]:
        """The first stage, then the second that belongs to what the first gave."""
        values = {**feeds, **self._first.run(feeds, threads, times)}
        read = {name: _contiguous(values[name]) for name in self._reads}
        values.update(self._second(read).run(read, threads, times))
        return {name: values[name] for name in self._wanted}

    def share(self, runs: int, spare_bytes: int) -> int:
        """One: a run may have to compile."""
        return 1

    def _second(self, values: Mapping[str, Array]) -> Runnable:
        """The second stage for what the first gave."""
        fed = signature_of(values)
        with self._lock:
            deciding = self._deciding if self._built < _BUILT_FOR_VALUES else []
            known = {name: np.array(values[name]) for name in deciding}
            sizes = tuple((name, array.tobytes()) for name, array in known.items())
            program = self._kept.pop((tuple(fed.items()), sizes), None)
            if program is None:
                self._built += bool(known)
                program = self._build(fed, known)
            self._kept[tuple(fed.items()), sizes] = self._last = program
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return program


def _contiguous(array: Array) -> Array:
    if not isinstance(array, np.ndarray):
        return array
    return np.ascontiguousarray(array).reshape(array.shape)
