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
    # Native steps run in the even turns, host steps in the odd ones, each as early as it can.
    turns: dict[Step, int] = {}
    groups: dict[int, list[Step]] = {}
    for step in steps:
        earliest = max((turns[other] for other in needs[step]), default=0)
        turns[step] = earliest + (earliest % 2 != isinstance(step, HostStep))
        groups.setdefault(turns[step], []).append(step)
    result: list[Segment] = []
    for _, group in sorted(groups.items()):
        native = [step for step in group if isinstance(step, NativeStep)]
        hosts = [step for step in group if isinstance(step, HostStep)]
        result += [native] if native else hosts
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
