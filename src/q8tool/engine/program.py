"""A program: a graph compiled for inputs of given shapes, as segments that run in turn.

    graph + shapes -> facts -> steps -> segments -> plans

A native segment is one Plan and one C call. Storages that only one native segment touches lie in
its arena; all others are numpy arrays that each run binds to the plans.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.assemble import NativeSegment, RefusedStep, assembled
from q8tool.engine.explain import StepInfo, host_info
from q8tool.engine.facts import known_facts
from q8tool.engine.graph import Graph, Node
from q8tool.engine.lowerings import new_lowering
from q8tool.engine.schedule import Segment, segments, without_unread
from q8tool.engine.tensors import HostStep, Storage, Tensor
from q8tool.errors import UnsupportedError
from q8tool.ops.host import HostOperator

__all__ = ["Program", "Signature"]

Array = NDArray[Any]
# Types and shapes of the inputs; None for sequences and the like.
Signature = Mapping[str, tuple[np.dtype[Any] | None, tuple[int, ...] | None]]


@dataclass(eq=False)
class _HostSegment:
    """One node on the host."""

    step: HostStep
    operator: HostOperator


class Program:
    """Built once for the types and shapes in `fed`, run as often as wanted.

    wanted  names of the values that run returns
    isa     None: the best of this CPU

    Raises UnsupportedError for an operator that nobody implements.
    """

    def __init__(
        self, graph: Graph, fed: Signature, wanted: Sequence[str], isa: str | None
    ) -> None:
        refused: dict[Node, str] = {}
        while True:
            try:
                self._compile(graph, fed, wanted, isa, refused)
                return
            except RefusedStep as refusal:
                nodes = refusal.step.nodes
                if not nodes or nodes[0] in refused:
                    raise refusal.error from refusal
                refused[nodes[0]] = str(refusal)

    def _compile(
        self,
        graph: Graph,
        fed: Signature,
        wanted: Sequence[str],
        isa: str | None,
        refused: Mapping[Node, str],
    ) -> None:
        """Everything from the graph to plans; nodes in `refused` go to the host for that reason."""
        facts = known_facts(graph, fed)
        lowering = new_lowering(graph, facts, wanted, refused)
        self._inputs: dict[str, Tensor] = {}
        for name in fed:
            self._inputs[name] = lowering.outer_form(lowering.value(name))
        lowering.run()
        self._results = {name: lowering.result(name) for name in wanted}
        steps = without_unread(lowering.steps, self._results.values())
        ordered = segments(steps)
        ends = [*self._inputs.values(), *self._results.values()]
        outside = _shared_storages(ordered, ends)
        self._segments: list[NativeSegment | _HostSegment] = []
        for segment in ordered:
            if isinstance(segment, HostStep):
                node = segment.node
                operator = HostOperator(node.proto, node.reads, graph.opsets)
                self._segments.append(_HostSegment(segment, operator))
            else:
                self._segments.append(assembled(segment, outside, isa))
        self._owned = outside & self._fresh_storages()

    def infos(self) -> list[StepInfo]:
        """What every step does, in the order they run."""
        result: list[StepInfo] = []
        for segment in self._segments:
            if isinstance(segment, _HostSegment):
                result.append(host_info(segment.step))
            else:
                result.extend(segment.infos)
        return result

    def run(
        self, feeds: Mapping[str, Array], threads: int, times: list[int] | None = None
    ) -> dict[str, Array]:
        """The wanted values for C-contiguous feeds of exactly the types and shapes compiled for.

        times  receives the nanoseconds of every step that infos lists
        """
        buffers = {tensor.storage: feeds[name] for name, tensor in self._inputs.items()}
        for segment in self._segments:
            if isinstance(segment, NativeSegment):
                _run_native(segment, buffers, threads, times)
            else:
                started = time.perf_counter_ns()
                _run_on_host(segment, buffers)
                if times is not None:
                    times.append(time.perf_counter_ns() - started)
        return self._collected(buffers)

    def profile(self, feeds: Mapping[str, Array], threads: int, runs: int) -> list[StepInfo]:
        """infos with the shortest time of each step over several runs."""
        infos = self.infos()
        best = np.full(len(infos), np.iinfo(np.int64).max)
        for _ in range(runs):
            times: list[int] = []
            self.run(feeds, threads, times)
            best = np.minimum(best, times)
        return [replace(info, nanoseconds=int(ns)) for info, ns in zip(infos, best, strict=True)]

    def _fresh_storages(self) -> set[Storage]:
        """Those that each run allocates: their arrays may be given away."""
        native = [segment for segment in self._segments if isinstance(segment, NativeSegment)]
        return {tensor.storage for segment in native for tensor in segment.written}

    def _collected(self, buffers: Mapping[Storage, Array]) -> dict[str, Array]:
        """The results; copies of those whose memory somebody else holds."""
        results: dict[str, Array] = {}
        given: set[Storage] = set()
        for name, tensor in self._results.items():
            array = _array(tensor, buffers)
            if tensor.storage not in self._owned or tensor.storage in given:
                array = array.copy() if isinstance(array, np.ndarray) else array
            given.add(tensor.storage)
            results[name] = array
        return results


def _shared_storages(ordered: Sequence[Segment], ends: Sequence[Tensor]) -> set[Storage]:
    """Storages that more than one segment, a host step or the caller touches."""
    outside = {tensor.storage for tensor in ends}
    seen: dict[Storage, int] = {}
    for index, segment in enumerate(ordered):
        steps = [segment] if isinstance(segment, HostStep) else segment
        for step in steps:
            for tensor in (*step.inputs, *step.outputs):
                if isinstance(step, HostStep) or seen.setdefault(tensor.storage, index) != index:
                    outside.add(tensor.storage)
    return outside


def _array(tensor: Tensor, buffers: Mapping[Storage, Array]) -> Array:
    """A tensor outside all arenas as an array of its type and dimensions."""
    if tensor.array is not None:
        return tensor.array
    array = buffers[tensor.storage]
    if tensor.dims is None or (array.dtype == tensor.dtype and array.shape == tensor.dims):
        return array
    return array.view(tensor.dtype).reshape(tensor.dims)


def _run_native(
    segment: NativeSegment, buffers: dict[Storage, Array], threads: int, times: list[int] | None
) -> None:
    for tensor in segment.written:
        if tensor.storage not in buffers:
            buffers[tensor.storage] = np.empty(tensor.shape, tensor.dtype)
    bound = [_array(tensor, buffers) for tensor in segment.bound]
    if times is None:
        segment.plan.run(bound, threads)
        return
    step_ns = np.zeros(len(segment.infos), np.int64)
    segment.plan.run(bound, threads, step_ns)
    times.extend(int(ns) for ns in step_ns)


def _run_on_host(segment: _HostSegment, buffers: dict[Storage, Array]) -> None:
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
