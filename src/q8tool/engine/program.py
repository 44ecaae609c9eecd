"""A program: a model compiled for inputs of given shapes, as segments that run in turn.

    feeds -> segment -> segment -> ... -> results

A native segment is one Plan and one C call. Storages that only one native segment touches lie in
its arena; all others are numpy arrays that each run binds to the plans. compilation.py makes
programs from graphs, plan_store.py from files; running one needs neither.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.explain import StepInfo, host_info
from q8tool.engine.tensors import HostStep, Storage, Tensor
from q8tool.errors import InputError, UnsupportedError
from q8tool.native import Plan

if TYPE_CHECKING:
    from q8tool.ops.host import HostOperator

__all__ = ["HostSegment", "NativeSegment", "Program", "Runnable", "Signature", "signature_of"]

Array = NDArray[Any]
# Types and shapes of the inputs; None for sequences and the like.
Signature = Mapping[str, tuple[np.dtype[Any] | None, tuple[int, ...] | None]]


def signature_of(values: Mapping[str, Array]) -> Signature:
    """Of what is fed; not every value is an array."""
    return {
        name: (value.dtype, value.shape) if isinstance(value, np.ndarray) else (None, None)
        for name, value in values.items()
    }


@dataclass(eq=False)
class HostSegment:
    """One node on the host."""

    step: HostStep
    operator: "HostOperator"


@dataclass(eq=False)
class NativeSegment:
    """A plan and what each run binds to it.

    bound    tensors that lie outside its arena, in the order of their ids
    written  one tensor of each storage among them that it writes
    infos    one per C step of the plan
    """

    plan: Plan
    bound: list[Tensor]
    written: list[Tensor]
    infos: list[StepInfo]


class Runnable(ABC):
    """A model compiled for inputs of certain types and shapes."""

    @abstractmethod
    def infos(self) -> list[StepInfo]:
        """What every step does, in the order they run."""

    @abstractmethod
    def run(
        self, feeds: Mapping[str, Array], threads: int, times: list[int] | None = None
    ) -> dict[str, Array]:
        """The wanted values for C-contiguous feeds of exactly the types and shapes compiled for.

        times  receives the nanoseconds of every step that infos lists
        """

    @abstractmethod
    def share(self, runs: int, spare_bytes: int) -> int:
        """Lets so many callers run at the same time; how many can. Nothing may run meanwhile.

        spare_bytes  what they may take beyond what one takes, as far as the engine knows it
        """

    def profile(self, feeds: Mapping[str, Array], threads: int, runs: int) -> list[StepInfo]:
        """infos with the shortest time of each step over several runs.

        Of the last runs with the same steps, if a run decides what its steps are.
        """
        infos: list[StepInfo] = []
        best = np.empty(0, np.int64)
        for _ in range(runs):
            times: list[int] = []
            self.run(feeds, threads, times)
            found = self.infos()
            if found != infos:
                infos, best = found, np.full(len(found), np.iinfo(np.int64).max)
            best = np.minimum(best, times)
        return [info._replace(nanoseconds=int(ns)) for info, ns in zip(infos, best, strict=True)]


class Program(Runnable):
    """Built once for inputs of certain types and shapes, run as often as wanted.

    segments  in the order they run
    inputs    where each fed array goes, by name
    results   the values that run returns, by name
    outside   storages that lie in no arena
    """

    def __init__(
        self,
        segments: Sequence[HostSegment | NativeSegment],
        inputs: Mapping[str, Tensor],
        results: Mapping[str, Tensor],
        outside: Collection[Storage],
    ) -> None:
        self.segments = segments
        self.inputs = inputs
        self.results = results
        self._owned = self._fresh_storages().intersection(outside)

    def infos(self) -> list[StepInfo]:
        """The C steps of every segment, and the nodes on the host."""
        result: list[StepInfo] = []
        for segment in self.segments:
            if isinstance(segment, HostSegment):
                result.append(host_info(segment.step))
            else:
                result.extend(segment.infos)
        return result

    def run(
        self, feeds: Mapping[str, Array], threads: int, times: list[int] | None = None
    ) -> dict[str, Array]:
        """One segment after the other."""
        buffers = {tensor.storage: feeds[name] for name, tensor in self.inputs.items()}
        for segment in self.segments:
            if isinstance(segment, NativeSegment):
                _run_native(segment, buffers, threads, times)
            else:
                started = time.perf_counter_ns()
                _run_on_host(segment, buffers)
                if times is not None:
                    times.append(time.perf_counter_ns() - started)
        return self._collected(buffers)

    def share(self, runs: int, spare_bytes: int) -> int:
        """As many as every segment's plan takes; one where a node is on the host."""
        for segment in self.segments:
            if isinstance(segment, HostSegment):
                return 1
            runs = segment.plan.share(runs, spare_bytes)
        return runs

    def _fresh_storages(self) -> set[Storage]:
        """Those that each run allocates: their arrays may be given away."""
        native = [segment for segment in self.segments if isinstance(segment, NativeSegment)]
        return {tensor.storage for segment in native for tensor in segment.written}

    def _collected(self, buffers: Mapping[Storage, Array]) -> dict[str, Array]:
        """The results; copies of those whose memory somebody else holds."""
        results: dict[str, Array] = {}
        given: set[Storage] = set()
        for name, tensor in self.results.items():
            array = _array(tensor, buffers)
            if tensor.storage not in self._owned or tensor.storage in given:
                array = array.copy() if isinstance(array, np.ndarray | list) else array
            given.add(tensor.storage)
            results[name] = array
        return results


def _array(tensor: Tensor, buffers: Mapping[Storage, Array]) -> Array:
    """A tensor outside all arenas as an array of its type and dimensions."""
    if tensor.array is not None:
        return tensor.array
    array = buffers[tensor.storage]
    if tensor.dims is None or (array.dtype == tensor.dtype and array.shape == tensor.dims):
        return array
    try:
        return array.view(tensor.dtype).reshape(tensor.dims)
    except ValueError as error:
        raise InputError(
            f"a node was to compute a value of shape {tensor.dims}, not {array.shape}"
        ) from error


def _new_array(tensor: Tensor) -> Array:
    try:
        return np.empty(tensor.shape, tensor.dtype)
    except MemoryError as error:
        raise UnsupportedError(f"no memory for a value of shape {tensor.shape}") from error


def _run_native(
    segment: NativeSegment, buffers: dict[Storage, Array], threads: int, times: list[int] | None
) -> None:
    for tensor in segment.written:
        if tensor.storage not in buffers:
            buffers[tensor.storage] = _new_array(tensor)
    bound = [_array(tensor, buffers) for tensor in segment.bound]
    if times is None:
        segment.plan.run(bound, threads)
        return
    step_ns = np.zeros(len(segment.infos), np.int64)
    segment.plan.run(bound, threads, step_ns)
    times.extend(int(ns) for ns in step_ns)


def _run_on_host(segment: HostSegment, buffers: dict[Storage, Array]) -> None:
    step = segment.step
    results = segment.operator.run([_array(tensor, buffers) for tensor in step.inputs])
    for tensor, result in zip(step.outputs, results, strict=True):
        if tensor.dims is not None:
            if result.dtype.kind == "U":
                result = result.astype(object)
            if result.shape != tensor.dims or result.dtype != tensor.dtype:
                raise UnsupportedError(
                    f"node '{step.node.name}' ({step.node.op_type}) gave {result.dtype}"
                    f"{list(result.shape)} where {tensor.dtype}{list(tensor.dims)} was inferred"
                )
            result = np.ascontiguousarray(result).reshape(result.shape)
        elif isinstance(result, np.ndarray) and result.dtype.kind == "U":
            result = result.astype(object)
        buffers[tensor.storage] = result
