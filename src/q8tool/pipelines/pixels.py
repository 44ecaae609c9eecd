"""Pixels: the prepared float model takes photos as bytes (quantize --io u8)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from q8tool.calibrate.ranges import Ranges
from q8tool.engine.read_graph import read_graph
from q8tool.errors import UsageError
from q8tool.image.load import find_photos
from q8tool.image.spec import Spec
from q8tool.model.change import Change
from q8tool.model.metadata import set_preprocess
from q8tool.passes.fold_pixels import fold_pixels
from q8tool.pipelines.preprocessing import SpecOptions, choose_spec, image_input, stated_spec

__all__ = ["fold_in", "take_pixels"]


def take_pixels(
    model: ir.Model, options: SpecOptions, images: Sequence[Path]
) -> tuple[list[Change], Ranges, Spec]:
    """Folds the normalization into the model, in place; the ranges that follow, and what it was.

    How photos became the input is said by flags, by the model, or tried out on the images; from now
    on the model says: size and nothing else. Raises UsageError if nothing says it.
    """
    info = image_input(read_graph(model).fed)
    if images:
        spec = choose_spec(model, info, options, find_photos(images)).spec
    else:
        spec, source = stated_spec(model, info, options)
        if source is None:
            raise UsageError(
                "--io u8 needs to know how pixels become numbers",
                "say it with --preset, or give --images to try it out",
            )
    return *fold_in(model, spec), spec


def fold_in(model: ir.Model, spec: Spec) -> tuple[list[Change], Ranges]:
    """The same, where it is known how photos became the input."""
    info = image_input(read_graph(model).fed)
    axis = 1 if spec.layout == "NCHW" else 3
    found = fold_pixels(model, info.name, spec.mean, spec.std, axis)
    raw = replace(spec, mean=(0.0,) * len(spec.mean), std=(1.0,) * len(spec.std))
    set_preprocess(model, raw.to_dict())
    return found
