"""Provenance: what an eight-bit file says about how it was made. No clock, no path, no host."""

import json
from importlib.metadata import PackageNotFoundError, version

import onnx_ir as ir

from q8tool.model.metadata import set_note, set_preprocess
from q8tool.pipelines.range_sources import Ranging

__all__ = ["note_quantization"]


def note_quantization(model: ir.Model, mode: str, calibration: str, ranging: Ranging) -> None:
    """Stores the recipe under q8tool.quantize, and the preprocessing where it is known."""
    recipe = {"mode": mode, "calibration": calibration, "ranges": ranging.source}
    try:
        recipe["version"] = version("q8tool")
    except PackageNotFoundError:
        recipe["version"] = "unknown"
    set_note(model, "quantize", json.dumps(recipe, sort_keys=True))
    if ranging.preprocessing is not None:
        set_preprocess(model, ranging.preprocessing.spec.to_dict())
