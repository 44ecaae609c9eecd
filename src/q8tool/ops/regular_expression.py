"""RegexFullMatch on the host, in time linear in the text: onnx.reference goes back and tries again.

    pattern --regular_syntax--> tree --> states --> the set of states after each letter

Python's `re` takes time exponential in the text for patterns such as (a+)+. Here all ways through
the pattern are followed at once (Thompson 1968), so a letter costs at most as much as the pattern
is long; sets that came up before are remembered.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.regular_syntax import (
    Alternatives,
    Chain,
    Letter,
    Node,
    Place,
    Repetition,
    parsed,
)

__all__ = ["Matcher", "RegexFullMatch"]

MOST_STATES = 20_000
"""Of a pattern whose repetitions are written out."""

# Transitions that are remembered.
_MOST_KNOWN = 10_000

States = frozenset[int]


@dataclass(frozen=True)
class _State:
    """Goes on to `after`, in between by a letter or at a place, if there is one."""

    way: Letter | Place | None
    after: tuple[int, ...]


class Matcher:
    """A pattern, ready for texts. Raises ValueError if it is none, or longer than MOST_STATES."""

    def __init__(self, pattern: str) -> None:
        self._states: list[_State] = [_State(None, ())]
        self._start = self._added(parsed(pattern), 0)
        self._known: dict[tuple[States, str | None, str | None], States] = {}

    def matches(self, text: str) -> bool:
        """Whether the whole text does."""
        states, before = frozenset([self._start]), None
        for letter in text:
            states, before = self._after(states, before, letter), letter
            if not states:
                return False
        return 0 in self._closed(states, before, None)

    def _after(self, states: States, before: str | None, letter: str) -> States:
        """The states behind the letter."""
        key = (states, before, letter)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = [self._states[state] for state in self._closed(states, before, letter)]
            self._known[key] = frozenset(
                after
                for state in found
                if isinstance(state.way, Letter) and state.way.test(letter)
                for after in state.after
            )
        return self._known[key]

    def _closed(self, states: States, before: str | None, behind: str | None) -> set[int]:
        """The states, and those that they lead to without a letter."""
        found, left = set(states), list(states)
        while left:
            state = self._states[left.pop()]
            is_passable = state.way is None or (
                isinstance(state.way, Place) and state.way.test(before, behind)
            )
            for after in state.after if is_passable else ():
                if after not in found:
                    found.add(after)
                    left.append(after)
        return found

    def _added(self, node: Node, after: int) -> int:
        """The first state of a node behind which `after` comes."""
        if isinstance(node, Letter | Place):
            return self._new(_State(node, (after,)))
        if isinstance(node, Chain):
            for item in reversed(node.items):
                after = self._added(item, after)
            return after
        if isinstance(node, Alternatives):
            return self._new(_State(None, tuple(self._added(item, after) for item in node.items)))
        return self._added_often(node, after)

    def _added_often(self, node: Repetition, after: int) -> int:
        if node.most is None:
            again = self._new(_State(None, ()))
            self._states[again] = _State(None, (self._added(node.item, again), after))
            start = again
        else:
            start = after
            for _ in range(node.most - node.least):
                start = self._new(_State(None, (self._added(node.item, start), after)))
        for _ in range(node.least):
            start = self._added(node.item, start)
        return start

    def _new(self, state: _State) -> int:
        if len(self._states) >= MOST_STATES:
            raise ValueError("the pattern is too long with its repetitions written out")
        self._states.append(state)
        return len(self._states) - 1


class RegexFullMatch(OpRun):
    """Texts to whether the pattern matches the whole of them."""

    def _run(self, x: NDArray[Any], pattern: str | None = None) -> tuple[NDArray[np.bool_]]:
        if x.dtype.kind not in "OU":
            raise TypeError(f"it takes strings, not {x.dtype}")
        matcher = Matcher(pattern or "")
        found = [matcher.matches(str(text)) for text in x.ravel()]
        return (np.array(found, np.bool_).reshape(x.shape),)
