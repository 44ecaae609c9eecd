"""The steps of a lowering in their order, and which of them touch a storage.

Asking every step for every node would take time with the square of a model's nodes.
"""

from collections.abc import Callable, Iterator
from typing import overload

from q8tool.engine.tensors import Step, Storage

__all__ = ["Steps"]


class Steps:
    """A list of steps with an index by storage."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._touching: dict[Storage, dict[Step, None]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    @overload
    def __getitem__(self, place: int) -> Step: ...
    @overload
    def __getitem__(self, place: slice) -> list[Step]: ...
    def __getitem__(self, place: int | slice) -> Step | list[Step]:
        return self._steps[place]

    def append(self, step: Step) -> None:
        """Add a step at the end."""
        self._steps.append(step)
        self._note(step)

    def insert(self, place: int, step: Step) -> None:
        """Add a step before the one at that place."""
        self._steps.insert(place, step)
        self._note(step)

    def index(self, step: Step) -> int:
        """The place of a step, which must be there."""
        return self._steps.index(step)

    def keep(self, is_kept: Callable[[Step], bool]) -> None:
        """Drop the steps for which the function is false."""
        self._steps = [step for step in self._steps if is_kept(step)]
        self._touching = {}
        for step in self._steps:
            self._note(step)

    def touching(self, storage: Storage) -> list[Step]:
        """Steps that read or write the storage, in the order in which they were added."""
        return list(self._touching.get(storage, ()))

    def _note(self, step: Step) -> None:
        for tensor in (*step.inputs, *step.outputs):
            self._touching.setdefault(tensor.storage, {})[step] = None
