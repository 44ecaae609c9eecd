"""explain: what runs for a model on this CPU, step by step, how long, and how near to the peak."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from q8tool import native
from q8tool.engine.explain import StepInfo
from q8tool.engine.session import Session
from q8tool.model import io
from q8tool.pipelines.agreement import first_run
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Options", "Report", "run"]


@dataclass(frozen=True)
class Options:
    """threads None: one per core; isa None: the best of this CPU."""

    model: Path
    threads: int | None = None
    isa: str | None = None


@dataclass(frozen=True)
class Report:
    """The steps in the order they run, each with the shortest of several runs.

    peak_gops  what the eight-bit matrix product of this instruction set reaches on all threads
               when its data lies in the first cache; 1e9 operations per second, two per
               multiply-add
    """

    isa: str
    threads: int
    peak_gops: float
    steps: list[StepInfo]

    @property
    def nanoseconds(self) -> int:
        """Of all steps together."""
        return sum(step.nanoseconds for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiply-adds of all steps together."""
        return sum(step.macs for step in self.steps)

    def share_of_peak(self, step: StepInfo) -> float | None:
        """0..1; None for steps that are no eight-bit products."""
        if not step.macs or not step.nanoseconds or step.dtype != "u8":
            return None
        return 2 * step.macs / step.nanoseconds / self.peak_gops

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "isa": self.isa,
            "threads": self.threads,
            "peak_gops": round(self.peak_gops, 1),
            "microseconds": self.nanoseconds / 1e3,
            "macs": self.macs,
            "steps": [
                {
                    "nodes": list(step.nodes),
                    "operators": step.op,
                    "kernel": step.kernel,
                    "type": step.dtype,
                    "microseconds": step.nanoseconds / 1e3,
                    "macs": step.macs,
                    "share_of_peak": self.share_of_peak(step),
                    "reason": step.reason,
                }
                for step in self.steps
            ],
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Run the model on random input and time each step.

    Open dimensions get sizes that the model accepts. Raises InputError for a file that is no
    usable model or cannot be run, UsageError for an instruction set that this CPU has not.
    """
    progress("compiling", 0, 2)
    model = io.load(options.model)
    session = Session(model, options.threads, options.isa)
    _, feeds, _ = first_run(model, session.run)
    progress("timing", 1, 2)
    steps = session.profile(feeds)
    isa = options.isa or native.isa_active()
    peak = native.selftest_gops(isa) * session.threads
    return Report(isa, session.threads, peak, steps)
