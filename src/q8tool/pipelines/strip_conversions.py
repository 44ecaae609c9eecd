"""strip-conversions: conversions that cancel go, and the result is proven to answer the same.

    load -> cancel, merge, sink until nothing changes -> check -> prove -> save

The proof has two halves. Each pair that was cancelled had parameters with which dequantizing and
quantizing again returned all 256 codes unchanged. And both models run on the same random input:
equal to the byte, or, where two roundings were merged into one, the difference is stated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.errors import ExpectationError, InputError
from q8tool.model import io
from q8tool.model.change import Change
from q8tool.model.check import check_made
from q8tool.model.files import check_output
from q8tool.model.foreign import standardize_operators
from q8tool.model.graph import all_graphs, is_quantized, node_label, op_counts
from q8tool.model.shapes import infer_shapes
from q8tool.numerics.compare import max_abs_difference
from q8tool.passes.cancel_conversions import why_kept
from q8tool.passes.pairs import pairs
from q8tool.passes.strip import strip
from q8tool.pipelines.agreement import first_run, random_feeds
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Options", "Report", "run"]

PROOF_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Options:
    """What strip-conversions is asked to do."""

    input_path: Path
    output_path: Path
    force: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Report:
    """What strip-conversions did.

    changes     one by one; removed, merged, moved and shared counts follow from them
    kept        (pair, reason) of conversions that still meet
    conversions QuantizeLinear and DequantizeLinear nodes, before and after
    difference  the largest of any output on random input, finite
    """

    output: str
    changes: Sequence[Change]
    kept: list[tuple[str, str]]
    conversions: tuple[int, int]
    sizes: tuple[int, int]
    difference: float

    def count(self, pass_name: str) -> int:
        """How many changes the pass made."""
        return sum(change.pass_name == pass_name for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "output": self.output,
            "removed": self.count("cancel_conversions"),
            "merged": self.count("merge_conversions"),
            "moved": self.count("sink_dequantize"),
            "shared": self.count("share_dequantize"),
            "conversions": {"before": self.conversions[0], "after": self.conversions[1]},
            "bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            "max_difference": self.difference,
            "kept": [{"pair": pair, "reason": reason} for pair, reason in self.kept],
            "changes": [vars(change) for change in self.changes],
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Strip a model file.

    Raises UsageError for an existing output, InputError for a file that is not usable or has no
    conversions, ExpectationError if the proof fails; then nothing is written.
    """
    check_output(options.output_path, force=options.force)
    original = io.load(options.input_path)
    if not is_quantized(original):
        raise InputError(
            f"{options.input_path}: has no conversions, it is a float model",
            "q8tool quantize makes an eight-bit model of it",
        )
    model = original.clone()
    changes = standardize_operators(model)
    infer_shapes(model)
    changes += strip(model)
    check_made(model, str(options.output_path), original, str(options.input_path))
    progress("comparing with the original", 0, 1)
    difference = _prove(original, model, changes, options.threads) if changes else 0.0
    progress("comparing with the original", 1, 1)
    size = io.file_bytes(original, options.input_path)
    written = io.save(model, options.output_path, force=options.force)
    return Report(
        output=str(options.output_path),
        changes=changes,
        kept=_kept(model),
        conversions=(_conversions(original), _conversions(model)),
        sizes=(size, written),
        difference=difference,
    )


def _prove(
    original: ir.Model, model: ir.Model, changes: Sequence[Change], threads: int | None
) -> float:
    """The largest difference of any output on random input; equal bytes unless roundings merged."""
    before, after = Session(original, threads=threads), Session(model, threads=threads)
    largest = 0.0
    sizes, _, _ = first_run(original, before.run)
    for seed in PROOF_SEEDS:
        feeds = random_feeds(original, sizes, seed)
        wanted, actual = before.run(feeds), after.run(feeds)
        largest = max([largest, *(_difference(wanted[name], actual[name]) for name in wanted)])
    merged = any(change.pass_name == "merge_conversions" for change in changes)
    if largest > 0.0 and not (merged and math.isfinite(largest)):
        raise ExpectationError(
            f"the stripped model differs by {largest:.3g} on random input, nothing was written",
            "this is a bug of q8tool; please report it with the model",
        )
    return largest


def _difference(wanted: NDArray[Any], actual: NDArray[Any]) -> float:
    if wanted.dtype.kind in "SUO":
        return float(not np.array_equal(wanted, actual))
    return max_abs_difference(wanted, actual)


def _kept(model: ir.Model) -> list[tuple[str, str]]:
    return [
        (f"{node_label(pair.dequantize)} -> {node_label(pair.quantize)}", why_kept(pair))
        for graph in all_graphs(model)
        for pair in pairs(graph)
    ]


def _conversions(model: ir.Model) -> int:
    counts = op_counts(model)
    return counts.get("QuantizeLinear", 0) + counts.get("DequantizeLinear", 0)
