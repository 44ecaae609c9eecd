"""Segments: writers before readers, few changes of side, steps that nobody reads left out."""

import time

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st

from q8tool.engine.graph import Node
from q8tool.engine.schedule import segments, without_unread
from q8tool.engine.tensors import HostStep, NativeStep, Step, Storage, Tensor

NODE = Node("n", "Op", "", 1, (), (), {}, (), onnx.NodeProto)


def tensor() -> Tensor:
    return Tensor(Storage(4), np.dtype(np.float32), (1,))


def step(is_host: bool, reads: list[Tensor], writes: Tensor) -> Step:
    if is_host:
        return HostStep(NODE, reads, [writes], "")
    return NativeStep("m", {str(i): x for i, x in enumerate(reads)}, {"y": writes}, {}, ())


def flat(steps: list[Step]) -> list[Step]:
    """The steps of their segments, in the order in which those run."""
    return [
        item
        for segment in segments(steps)
        for item in ([segment] if isinstance(segment, HostStep) else segment)
    ]


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 20), max_size=3)), max_size=20))
def test_every_step_runs_once_and_after_what_it_reads(plan: list[tuple[bool, list[int]]]) -> None:
    values, steps = [tensor()], list[Step]()
    for is_host, sources in plan:
        steps.append(step(is_host, [values[i % len(values)] for i in sources], tensor()))
        values += steps[-1].outputs
    order = flat(steps)
    assert len(order) == len(set(order)) == len(steps)
    written = {values[0].storage}
    for item in order:
        assert {x.storage for x in item.inputs} <= written
        written.update(x.storage for x in item.outputs)


def test_native_steps_wait_for_each_other() -> None:
    """b runs before the host; a, which needs the host, shares one segment with c."""
    x, h, a, b, c = (tensor() for _ in range(5))
    host, first = step(True, [x], h), step(False, [h], a)
    other, last = step(False, [x], b), step(False, [a, b], c)
    assert segments([host, first, other, last]) == [[other], host, [first, last]]


def test_what_nobody_reads_is_left_out() -> None:
    x, a, b = (tensor() for _ in range(3))
    steps = [step(False, [x], a), step(True, [x], b)]
    assert without_unread(steps, [a]) == steps[:1]


def test_five_thousand_changes_of_side_take_no_time() -> None:
    values = [tensor() for _ in range(5001)]
    steps = [step(i % 2 == 1, [values[i]], values[i + 1]) for i in range(5000)]
    started = time.perf_counter()
    assert flat(steps) == steps
    assert time.perf_counter() - started < 2
