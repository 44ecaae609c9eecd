"""From a list of steps to segments: what nobody reads is dropped, native steps stay together."""

from collections.abc import Iterable, Sequence

from q8tool.engine.tensors import HostStep, NativeStep, Step, Storage, Tensor

__all__ = ["Segment", "segments", "without_unread"]

# Native steps that run in one C call, or one host step.
Segment = list[NativeStep] | HostStep


def without_unread(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps that something in `wanted` depends on, in their order."""
    needed = {tensor.storage for tensor in wanted}
    kept: list[Step] = []
    for step in reversed(steps):
        if any(tensor.storage in needed for tensor in step.outputs):
            needed.update(tensor.storage for tensor in step.inputs)
            kept.append(step)
    return kept[::-1]


def segments(steps: Sequence[Step]) -> list[Segment]:
    """Steps in an order that respects who writes what, with as few changes of side as possible.

    Alternates: every native step that can run, then every host step that can run.
    """
    needs = _dependencies(steps)
    done: set[Step] = set()
    waiting = list(steps)
    result: list[Segment] = []
    is_native_turn = True
    while waiting:
        chosen: list[Step] = []
        for step in waiting:
            if isinstance(step, NativeStep) == is_native_turn and needs[step] <= done:
                chosen.append(step)
                done.add(step)
        if is_native_turn:
            native = [step for step in chosen if isinstance(step, NativeStep)]
            if native:
                result.append(native)
        else:
            result.extend(step for step in chosen if isinstance(step, HostStep))
        waiting = [step for step in waiting if step not in done]
        is_native_turn = not is_native_turn
    return result


def _dependencies(steps: Sequence[Step]) -> dict[Step, set[Step]]:
    """Steps that must come before each: earlier writers of what it reads or writes itself."""
    writers: dict[Storage, list[Step]] = {}
    needs: dict[Step, set[Step]] = {}
    for step in steps:
        touched = [*step.inputs, *step.outputs]
        needs[step] = {writer for tensor in touched for writer in writers.get(tensor.storage, ())}
        needs[step].discard(step)
        for tensor in step.outputs:
            writers.setdefault(tensor.storage, []).append(step)
    return needs
