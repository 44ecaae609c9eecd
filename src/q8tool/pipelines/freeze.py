"""freeze: a model that needs nothing but its inputs, with the answers of the original."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool.errors import UsageError
from q8tool.model import io
from q8tool.model.change import Change
from q8tool.model.check import check_made
from q8tool.model.checkpoint import Checkpoint
from q8tool.model.files import check_output
from q8tool.model.graph import op_counts
from q8tool.passes.fix_dimensions import fix_dimensions
from q8tool.passes.inline_functions import inline_functions
from q8tool.passes.keep_outputs import keep_outputs
from q8tool.passes.lift_weights import lift_weights
from q8tool.passes.restore_checkpoint import Restored, restore_checkpoint
from q8tool.passes.set_inference_mode import set_inference_mode
from q8tool.passes.simplify import simplify
from q8tool.pipelines.agreement import compare_on_random_input
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Options", "Report", "run"]


@dataclass(frozen=True)
class Options:
    """What freeze is asked to do.

    input_path, output_path   model files; checkpoint: .npz or .safetensors, None for none
    output_names              values or nodes to keep as outputs; empty: the model's own
    dimensions                symbolic dimension of the inputs -> size
    only, keep                patterns of the weights to take from the checkpoint, or not to take
    force                     overwrite the output
    """

    input_path: Path
    output_path: Path
    checkpoint: Path | None = None
    output_names: Sequence[str] = ()
    dimensions: Mapping[str, int] = field(default_factory=dict)
    only: Sequence[str] = ()
    keep: Sequence[str] = ()
    force: bool = False


@dataclass(frozen=True)
class Report:
    """What freeze did.

    op_counts          nodes per operator, before and after
    sizes              bytes of the input and the output, external data included
    differences        output -> largest relative difference from the original on random input
    not_in_checkpoint  float weights that the checkpoint does not name
    not_in_model       names of the checkpoint that the model does not have
    changes            one by one, in order
    """

    output: str
    op_counts: tuple[dict[str, int], dict[str, int]]
    sizes: tuple[int, int]
    differences: dict[str, float]
    not_in_checkpoint: list[str]
    not_in_model: list[str]
    changes: list[Change]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        before, after = self.op_counts
        return {
            "output": self.output,
            "nodes": {"before": sum(before.values()), "after": sum(after.values())},
            "operators": {"before": before, "after": after},
            "bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            "differences": self.differences,
            "not_in_checkpoint": self.not_in_checkpoint,
            "not_in_model": self.not_in_model,
            "changes": [vars(change) for change in self.changes],
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Freeze a model file: fill, fix, fold, drop, check, compare, save.

    Raises UsageError for what the options name wrongly and for an existing output, InputError for
    files that are not usable, UnsupportedError for a model that nobody here can run, Q8Error if
    the result answers differently; then nothing is written.
    """
    check_output(options.output_path, force=options.force)
    if (options.only or options.keep) and options.checkpoint is None:
        raise UsageError("--only and --keep choose weights of a --checkpoint, which is not given")
    original = io.load(options.input_path)
    size = io.file_bytes(original, options.input_path)
    model = original.clone()
    restored, changes = _fill(model, options)
    reference = model.clone()
    progress("simplifying", 0, 4)
    changes += simplify(model)
    progress("checking", 1, 4)
    check_made(model, str(options.output_path), reference, str(options.input_path))
    progress("comparing with the original", 2, 4)
    differences = compare_on_random_input(reference, model)
    progress("writing", 3, 4)
    written = io.save(model, options.output_path, force=options.force)
    return Report(
        output=str(options.output_path),
        op_counts=(op_counts(original), op_counts(model)),
        sizes=(size, written),
        differences=differences,
        not_in_checkpoint=restored.not_in_checkpoint,
        not_in_model=restored.not_in_model,
        changes=changes,
    )


def _fill(model: ir.Model, options: Options) -> tuple[Restored, list[Change]]:
    """What changes the answers on purpose; the rest is compared with the model after this."""
    restored = Restored()
    if options.checkpoint is not None:
        with Checkpoint(options.checkpoint) as values:
            restored = restore_checkpoint(model, values, options.only, options.keep)
    changes = [*restored.changes, *lift_weights(model), *inline_functions(model)]
    changes += set_inference_mode(model)
    changes += fix_dimensions(model, options.dimensions)
    if options.output_names:
        changes += keep_outputs(model, options.output_names)
    return restored, changes
