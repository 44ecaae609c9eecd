"""Statistics: what calibration has seen of each tensor, mergeable to the bit.

    photos on one machine  -> Statistics --+
    photos on another one  -> Statistics --+--> merged -> ranges

The ranges of a merger are those that one run over all samples would have given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from q8tool.calibrate.observers import (
    METHODS,
    Method,
    Mse,
    Observer,
    make_observer,
    restored_observer,
)
from q8tool.errors import UsageError

__all__ = ["Statistics"]


@dataclass(frozen=True)
class Statistics:
    """One observer per tensor, all of one method, and how many samples they saw."""

    method: Method
    samples: int
    tensors: Mapping[str, Observer]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Tensor name -> (low, high), real units."""
        return {name: observer.range() for name, observer in self.tensors.items()}

    def errors(self) -> dict[str, Callable[[float, float], float]]:
        """Tensor name -> what a range (low, high) costs it, where the method knows (mse)."""
        return {
            name: observer.error
            for name, observer in self.tensors.items()
            if isinstance(observer, Mse)
        }

    @staticmethod
    def merged(parts: Sequence["Statistics"]) -> "Statistics":
        """What one run over all samples would have kept. At least one part.

        Raises UsageError if the parts were made by different methods.
        """
        methods = sorted({part.method for part in parts})
        if len(methods) > 1:
            raise UsageError(
                f"ranges of different methods cannot be merged: {', '.join(methods)}",
                "calibrate all parts with the same --calibration",
            )
        tensors: dict[str, Observer] = {}
        for part in parts:
            for name, observer in part.tensors.items():
                if name not in tensors:
                    tensors[name] = make_observer(part.method)
                tensors[name].merge(observer)
        return Statistics(parts[0].method, sum(part.samples for part in parts), tensors)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, tensors by name."""
        tensors = {name: self.tensors[name].to_json() for name in sorted(self.tensors)}
        return {"method": self.method, "samples": self.samples, "tensors": tensors}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Statistics":
        """Reads what to_json wrote. Raises KeyError, TypeError or ValueError for anything else."""
        method, samples = values["method"], values["samples"]
        if method not in METHODS:
            raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
        if type(samples) is not int or samples < 1:
            raise ValueError(f"{samples!r} samples")
        tensors = {}
        for name, kept in dict(values["tensors"]).items():
            try:
                tensors[name] = restored_observer(method, kept)
            except (KeyError, OverflowError, TypeError, ValueError) as error:
                raise ValueError(f"tensor '{name}': {error}") from error
        return Statistics(method, samples, tensors)
