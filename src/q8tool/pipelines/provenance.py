"""Provenance: what an eight-bit file says about how it was made. No clock, no path, no host.

    q8tool.quantize  {"mode": "eightbit", "source_sha256": "...", "same_label": 0.95, ...}

What it claims can be computed again: `q8tool verify` does.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool import __version__
from q8tool.calibrate.collect import SampleStream
from q8tool.model import io
from q8tool.model.metadata import set_note, set_preprocess
from q8tool.pipelines.answers import Comparison, samples_hash
from q8tool.pipelines.range_sources import Ranging
from q8tool.pipelines.samples import compared_name

__all__ = ["NOTE", "claims_of", "note_quantization", "source_hash"]

NOTE = "quantize"
"""The key, without the prefix, under which the note stands."""


def claims_of(comparison: Comparison, samples: SampleStream, count: int) -> dict[str, Any]:
    """What a comparison showed, as JSON values; nothing for random input.

    samples  as the eight-bit model takes them
    count    of all samples, those that calibration saw included
    """
    if comparison.is_random:
        return {}
    claims: dict[str, Any] = {
        "compared_on": f"{comparison.samples} {compared_name(count)}",
        "samples_sha256": samples_hash(samples),
    }
    if comparison.agreement is not None:
        claims["same_label"] = round(comparison.agreement, 4)
    if comparison.equal is not None:
        claims["equal_values"] = round(comparison.equal, 4)
    if comparison.sqnr_db is not None and math.isfinite(comparison.sqnr_db):
        claims["sqnr_db"] = round(comparison.sqnr_db, 1)
    if comparison.accuracy is not None:
        before, after = comparison.accuracy
        claims["top1"] = {"float": round(before.top1, 4), "eight_bit": round(after.top1, 4)}
    return claims


def note_quantization(
    model: ir.Model, mode: str, source: str, ranging: Ranging, claims: Mapping[str, Any]
) -> None:
    """Stores recipe, hash of the float file and what was measured under q8tool.quantize.

    source  source_hash of the float model. The preprocessing goes under q8tool.preprocess where it
    is known.
    """
    recipe = {
        "version": __version__,
        "mode": mode,
        "ranges": ranging.source,
        "source_sha256": source,
        **claims,
    }
    set_note(model, NOTE, json.dumps(recipe, sort_keys=True))
    if ranging.preprocessing is not None:
        set_preprocess(model, ranging.preprocessing.spec.to_dict())


def source_hash(model: ir.Model, path: Path) -> str:
    """SHA-256 of a model's file, and of its external data after it; read piece by piece."""
    digest = hashlib.sha256()
    for file in io.files_of(model, path):
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
