"""What every plan has: tensors, a life, runs. The steps are in plan.py."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from q8tool.errors import InputError, NativeError, UnsupportedError
from q8tool.native._q8 import ffi, lib
from q8tool.native.arguments import Arguments, dtype_code
from q8tool.native.cpu import check_isa
from q8tool.native.interrupts import STOP

if TYPE_CHECKING:
    from queue import LifoQueue

    from q8tool.native._q8 import CData

__all__ = ["PlanBase"]


Self = TypeVar("Self", bound="PlanBase")


class PlanBase:
    """Tensors, arena and runs of a plan; `Plan` adds the steps."""

    def __init__(self, isa: str | None = None) -> None:
        handle = lib.q8_plan_new(check_isa(isa).encode())
        if handle == ffi.NULL:
            raise NativeError("no memory for a plan")
        self._handle = ffi.gc(handle, lib.q8_plan_free)
        self._shapes: list[tuple[int, ...]] = []
        self._bound: list[tuple[int, np.dtype[np.generic]]] = []
        self._written: set[int] = set()
        self._running = threading.Lock()
        self._lanes: LifoQueue[CData] | None = None
        self._is_closed = False

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the plan now; it cannot be used again."""
        with self._running:
            if not self._is_closed:
                self._is_closed = True
                while self._lanes is not None and not self._lanes.empty():
                    self._lanes.get()  # a twin is freed with its last reference
                self._lanes = None
                ffi.release(self._handle)

    # ---- tensors ----

    def tensor(self, dtype: npt.DTypeLike, shape: Sequence[int], offset: int | None) -> int:
        """Id of a new tensor at byte `offset` of the arena; None: the caller binds it each run."""
        return self._new_tensor(
            lib.q8_plan_tensor, dtype, shape, -1 if offset is None else int(offset), offset is None
        )

    def constant(self, array: npt.NDArray[Any]) -> int:
        """Id of a tensor that holds a copy of `array`."""
        arguments = Arguments()
        data = arguments.bytes_of(array)
        return self._new_tensor(lib.q8_plan_constant, array.dtype, array.shape, data, False)

    # ---- finish and run ----

    def finish(self, arena_bytes: int) -> None:
        """Check every place and size, allocate the arena; nothing can be added after.

        Raises UnsupportedError if there is not that much memory.
        """
        status = lib.q8_plan_finish(self._open(), arena_bytes)
        if status == lib.Q8_ERROR_MEMORY:
            raise UnsupportedError(ffi.string(lib.q8_plan_error(self._handle)).decode())
        self._check(status)

    def run(
        self,
        bound: Sequence[npt.NDArray[Any]],
        threads: int = 1,
        step_ns: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Run all steps; callers beyond those of `share` wait for each other.

        bound     one C-contiguous array per bound tensor, in the order of their ids
        threads   at most so many, the caller's included
        step_ns   receives the nanoseconds of each step

        Raises KeyboardInterrupt if interrupts.py has it stop.
        """
        if len(bound) != len(self._bound):
            raise NativeError(f"{len(bound)} arrays bound, not {len(self._bound)}")
        if step_ns is not None and (step_ns.dtype != np.int64 or len(step_ns) != self.step_count):
            raise NativeError(f"step_ns is not int64 [{self.step_count}]")
        views = [self._view(index, array) for index, array in enumerate(bound)]
        pointers = ffi.new("void *[]", views)
        sizes = ffi.new("int64_t[]", [array.nbytes for array in bound])
        times = ffi.NULL if step_ns is None else ffi.from_buffer("int64_t[]", step_ns, True)
        given = (len(views), pointers, sizes, threads, times, STOP)
        if self._lanes is None:
            with self._running:
                _run(self._open(), given)
            return
        handle = self._lanes.get()
        try:
            _run(handle, given)
        finally:
            self._lanes.put(handle)

    def share(self, runs: int, spare_bytes: int) -> int:
        """Let so many runs go on at the same time, each in an arena of its own; once per plan.

        spare_bytes  what further arenas may take together
        Returns how many can. Callers see to it that nothing runs meanwhile, and that close comes
        after the last run.
        """
        from queue import LifoQueue  # most plans are never shared; one caller keeps to one arena

        if self._lanes is None:
            lanes: LifoQueue[CData] = LifoQueue()
            lanes.put(self._open())
            own_bytes = lib.q8_plan_arena_bytes(self._open())
            for _ in range(min(runs - 1, spare_bytes // max(1, own_bytes))):
                twin = lib.q8_plan_twin(self._open())
                if twin == ffi.NULL:
                    break
                lanes.put(ffi.gc(twin, lib.q8_plan_free))
            self._lanes = lanes
        return self._lanes.qsize()

    @property
    def isa(self) -> str:
        """Instruction set that the plan was made for."""
        return ffi.string(lib.q8_plan_isa(self._open())).decode()

    @property
    def bytes(self) -> int:
        """Memory that the plan holds: constants, packed weights, arena, scratch."""
        return int(lib.q8_plan_bytes(self._open()))

    @property
    def step_count(self) -> int:
        """Steps added so far."""
        return int(lib.q8_plan_step_count(self._open()))

    def step_name(self, step: int) -> str:
        """What the step runs, for explain: "conv 3x3/2 avx512vnni 6x64"."""
        if not 0 <= step < self.step_count:
            raise NativeError(f"no step {step}")
        return ffi.string(lib.q8_plan_step_name(self._open(), step)).decode()

    def step_macs(self, step: int) -> int:
        """Multiply-adds of the step; 0 where that means nothing."""
        return int(lib.q8_plan_step_macs(self._open(), step))

    # ---- inside ----

    def _open(self) -> CData:
        if self._is_closed:
            raise NativeError("the plan is closed")
        return self._handle

    def _check(self, status: int) -> int:
        if status < 0:
            raise NativeError(ffi.string(lib.q8_plan_error(self._handle)).decode())
        return status

    def _new_tensor(
        self, add: Any, dtype: npt.DTypeLike, shape: Sequence[int], place: Any, is_bound: bool
    ) -> int:
        dims = ffi.new("int64_t[]", [int(d) for d in shape])
        tensor = self._check(add(self._open(), dtype_code(dtype), len(shape), dims, place))
        self._shapes.append(tuple(int(d) for d in shape))
        if is_bound:
            self._bound.append((tensor, np.dtype(dtype)))
        return tensor

    def _add(self, function: Any, *arguments: Any, writes: Sequence[int]) -> range:
        before = self.step_count
        self._check(function(self._open(), *arguments))
        self._written.update(writes)
        return range(before, self.step_count)

    def _dims(self, tensor: int, rank: int) -> tuple[int, ...]:
        if not 0 <= tensor < len(self._shapes) or len(self._shapes[tensor]) != rank:
            raise NativeError(f"tensor {tensor} does not exist or has not rank {rank}")
        return self._shapes[tensor]

    def _view(self, index: int, array: npt.NDArray[Any]) -> CData:
        tensor, dtype = self._bound[index]
        shape = self._shapes[tensor]
        if array.dtype != dtype or array.shape != shape:
            raise NativeError(
                f"bound tensor {index} is {array.dtype}{list(array.shape)}, "
                f"not {dtype}{list(shape)}"
            )
        try:
            if dtype.isbuiltin == 2:  # of ml_dtypes: it has no buffers
                array = array.view(np.uint16)
            return ffi.from_buffer("uint8_t[]", array, tensor in self._written)
        except (BufferError, ValueError) as error:
            raise NativeError(f"bound tensor {index}: {error}") from error


def _run(handle: CData, given: Sequence[Any]) -> None:
    """given: all other arguments of q8_plan_run, the flag that stops it the last."""
    status = lib.q8_plan_run(handle, *given)
    if status >= 0:
        return
    if STOP[0]:
        raise KeyboardInterrupt
    text = ffi.string(lib.q8_plan_error(handle)).decode()
    raise InputError(text) if status == lib.Q8_ERROR_BOUNDS else NativeError(text)
