"""Provenance: what an eight-bit file says about how it was made. No clock, no path, no host."""

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool import __version__
from q8tool.model.metadata import set_note, set_preprocess
from q8tool.pipelines.answers import Comparison
from q8tool.pipelines.range_sources import Ranging

__all__ = ["note_quantization"]


def note_quantization(
    model: ir.Model, mode: str, source: Path, ranging: Ranging, comparison: Comparison
) -> None:
    """Stores recipe, hash of the float file and agreement under q8tool.quantize.

    The preprocessing goes under q8tool.preprocess where it is known.
    """
    recipe: dict[str, Any] = {
        "version": __version__,
        "mode": mode,
        "ranges": ranging.source,
        "source_sha256": _sha256(source),
    }
    if comparison.agreement is not None and not comparison.is_random:
        recipe["same_label"] = round(comparison.agreement, 4)
        recipe["compared_on"] = f"{comparison.samples} held-back samples"
    set_note(model, "quantize", json.dumps(recipe, sort_keys=True))
    if ranging.preprocessing is not None:
        set_preprocess(model, ranging.preprocessing.spec.to_dict())


def _sha256(path: Path) -> str:
    """Of the model file itself; read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
