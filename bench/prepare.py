"""Prepare: the eight-bit files that bench runs, made once per model and kept in a cache folder.

ours.onnx   q8tool quantize --images, QDQ
ort.onnx    onnxruntime.quantization.quantize_static: QDQ, uint8 activations, int8 weights per
            channel, min/max over the same photos
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from q8tool.image.load import find_photos, load_photo
from q8tool.image.preprocess import to_tensor
from q8tool.image.spec import PRESETS, Spec
from q8tool.pipelines import quantize
from q8tool.pipelines.preprocessing import SpecOptions, image_input

__all__ = ["Files", "data_dir", "prepare"]

PHOTOS = 40


@dataclass(frozen=True)
class Files:
    """One model in its forms."""

    name: str
    float_model: Path
    ours: Path
    onnxruntime: Path


def data_dir() -> Path:
    """Models and photos: Q8_DATA, by default ../shared/data from the project's root."""
    return Path(os.environ.get("Q8_DATA", "../shared/data"))


def prepare(model: Path, cache: Path, preset: str) -> Files:
    """Makes what is missing in cache/<model name>/."""
    folder = cache / model.stem
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(model.stem, model, folder / "ours.onnx", folder / "ort.onnx")
    photos = find_photos([data_dir() / "imagenet"])[:: 500 // PHOTOS][:PHOTOS]
    if not files.ours.exists():
        options = quantize.Options(
            model, files.ours, images=photos, preprocessing=SpecOptions(preset)
        )
        quantize.run(options)
    if not files.onnxruntime.exists():
        _by_onnxruntime(model, files.onnxruntime, photos, preset)
    return files


class _Photos:
    """What onnxruntime calls a calibration data reader."""

    def __init__(self, samples: Iterator[dict[str, Any]]) -> None:
        self._samples = samples

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def _by_onnxruntime(model: Path, output: Path, photos: list[Path], preset: str) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from q8tool import Session

    info = image_input(Session(model).inputs)
    height, width = (d if isinstance(d, int) else 224 for d in (info.shape or ())[2:4])
    mean, std = PRESETS[preset]
    spec = Spec((height, width), mean, std)
    samples = ({info.name: np.asarray(to_tensor(load_photo(p), spec))} for p in photos)
    ready = output.with_suffix(".pre.onnx")
    quant_pre_process(model, ready, skip_symbolic_shape=True)
    quantize_static(
        ready, output, _Photos(samples), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    ready.unlink()
