"""Builds the plan of a native segment: places in the arena, ids of tensors, calls in order."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from q8tool.engine.arena import Lifetime, place
from q8tool.engine.explain import StepInfo, native_info
from q8tool.engine.program import NativeSegment
from q8tool.engine.tensors import NativeStep, Storage, Tensor
from q8tool.errors import NativeError
from q8tool.native import Plan

if TYPE_CHECKING:
    from q8tool.engine.plan_store import Journal

__all__ = ["RefusedStep", "assembled"]


class RefusedStep(Exception):  # noqa: N818 - handled by compiling again
    """C does not take a step that a lowering emitted: a size beyond its limits."""

    def __init__(self, step: NativeStep, error: NativeError) -> None:
        super().__init__(error.message)
        self.step = step
        self.error = error


def assembled(
    steps: Sequence[NativeStep],
    outside: Collection[Storage],
    isa: str | None,
    journal: "Journal | None" = None,
) -> NativeSegment:
    """The plan of these steps; storages in `outside` are bound at each run.

    journal  receives every call

    Raises RefusedStep if C does not take one of them.
    """
    builder = _Builder(steps, outside, isa, journal)
    for step in steps:
        builder.add(step)
    builder.finish()
    return NativeSegment(builder.plan, builder.bound, builder.written(), builder.infos)


class _Builder:
    def __init__(
        self,
        steps: Sequence[NativeStep],
        outside: Collection[Storage],
        isa: str | None,
        journal: "Journal | None",
    ) -> None:
        self.plan = Plan(isa)
        self._journal = journal
        self.bound: list[Tensor] = []
        self.infos: list[StepInfo] = []
        self._steps = steps
        self._outside = outside
        self._ids: dict[tuple[Storage, np.dtype[np.generic], tuple[int, ...]], int] = {}
        self._offsets, self._arena_bytes = self._places()

    def add(self, step: NativeStep) -> None:
        """Calls the plan's method for one step."""
        tensors = {**step.reads, **step.writes}
        arguments = {k: v() if callable(v) else v for k, v in step.arguments.items()}
        try:
            ids = {name: None if t is None else self._id(t) for name, t in tensors.items()}
            indices = getattr(self.plan, step.method)(**ids, **arguments)
        except NativeError as error:
            raise RefusedStep(step, error) from error
        except OverflowError as error:  # a size that is not one of C's int32_t
            raise RefusedStep(step, NativeError(f"{step.method}: {error}")) from error
        if self._journal is not None:
            self._journal.step(step.method, {**ids, **arguments})
        for index in indices:
            name, macs = self.plan.step_name(index), self.plan.step_macs(index)
            self.infos.append(native_info(step, name, macs))
        if not indices and self.infos:
            # The step before does something else now.
            last = len(self.infos) - 1
            name, macs = self.plan.step_name(last), self.plan.step_macs(last)
            self.infos[last] = self.infos[last]._replace(kernel=name, macs=macs)

    def finish(self) -> None:
        """Makes the plan ready to run."""
        self.plan.finish(self._arena_bytes)
        if self._journal is not None:
            self._journal.finish_plan(self._arena_bytes)

    def written(self) -> list[Tensor]:
        """One tensor of each storage outside the arena that a step writes."""
        found: dict[Storage, Tensor] = {}
        for step in self._steps:
            for tensor in step.outputs:
                if tensor.storage in self._outside:
                    found.setdefault(tensor.storage, tensor)
        return list(found.values())

    def _id(self, tensor: Tensor) -> int:
        # bool and the like are bytes to the plan.
        is_byte = tensor.dtype.itemsize == 1 and tensor.dtype != np.int8
        dtype = np.dtype(np.uint8) if is_byte else tensor.dtype
        key = (tensor.storage, dtype, tensor.shape)
        if key not in self._ids:
            self._ids[key] = self._new_id(tensor, dtype)
        return self._ids[key]

    def _new_id(self, tensor: Tensor, dtype: np.dtype[np.generic]) -> int:
        if tensor.array is not None:
            array = np.ascontiguousarray(tensor.array).view(dtype).reshape(tensor.shape)
            if self._journal is not None:
                self._journal.constant(array)
            return self.plan.constant(array)
        offset = None
        if tensor.storage in self._outside:
            self.bound.append(Tensor(tensor.storage, dtype, tensor.shape))
        else:
            offset = self._offsets[tensor.storage]
        if self._journal is not None:
            self._journal.tensor(dtype, tensor.shape, offset)
        return self.plan.tensor(dtype, tensor.shape, offset)

    def _places(self) -> tuple[dict[Storage, int], int]:
        """Arena offsets of the storages that only this segment touches, and the arena's size."""
        lives: dict[Storage, tuple[int, int]] = {}
        for index, step in enumerate(self._steps):
            for tensor in (*step.inputs, *step.outputs):
                if tensor.array is None and tensor.storage not in self._outside:
                    first, _ = lives.get(tensor.storage, (index, index))
                    lives[tensor.storage] = (first, index)
        lifetimes = [Lifetime(s.bytes or 0, first, last) for s, (first, last) in lives.items()]
        offsets, size = place(lifetimes)
        return dict(zip(lives, offsets, strict=True)), size
