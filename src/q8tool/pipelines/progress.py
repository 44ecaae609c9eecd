"""How pipelines say how far they are; the command line draws it."""

from collections.abc import Callable

__all__ = ["Progress", "silent"]

# Called with a stage in a few words, steps done and steps in all (0: not known beforehand).
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Take no notice: the default of every pipeline."""
