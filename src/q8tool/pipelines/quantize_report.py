"""What quantize did, as its report says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from q8tool.model.change import Change
from q8tool.pipelines.answers import Comparison
from q8tool.pipelines.fallback import Fallback
from q8tool.pipelines.layers import Layer
from q8tool.pipelines.range_sources import Ranging
from q8tool.pipelines.rewriting import Mode
from q8tool.pipelines.timing import Timing

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What quantize did.

    sizes         bytes of the input and the output
    op_counts     nodes per operator, before and after
    static, dynamic   operators with ranges known before and at run time
    kept          (node, reason) of operators that could have been eight-bit and stayed float
    ranging       where the ranges come from
    comparison    with the float model
    timing        of both models
    fallback      which layers stay float because of --max-drop; None without it
    layers        what became of every operator; None where nobody asked for it
    warnings      what is strange about the samples, and what was lost
    zipped        share of the weights' bytes after compression; None outside weights-rounded
    """

    output: str
    mode: Mode
    sizes: tuple[int, int]
    op_counts: tuple[dict[str, int], dict[str, int]]
    static: int
    dynamic: int
    kept: list[tuple[str, str]]
    ranging: Ranging
    comparison: Comparison
    changes: list[Change]
    opset: tuple[int, int]
    timing: Timing
    warnings: Sequence[str] = ()
    fallback: Fallback | None = None
    layers: Sequence[Layer] | None = None
    zipped: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        layers = {} if self.layers is None else {"layers": [one.to_json() for one in self.layers]}
        return {
            "output": self.output,
            "mode": self.mode,
            "bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            "operators": {"before": self.op_counts[0], "after": self.op_counts[1]},
            "opset": {"before": self.opset[0], "after": self.opset[1]},
            "static": self.static,
            "dynamic": self.dynamic,
            "kept_float": [{"node": node, "reason": reason} for node, reason in self.kept],
            "ranges": self.ranging.to_json(),
            "comparison": self.comparison.to_json(),
            "milliseconds": self.timing.to_json(),
            "warnings": list(self.warnings),
            "max_drop": None if self.fallback is None else self.fallback.to_json(),
            "zipped_share": self.zipped,
            **layers,
        }
