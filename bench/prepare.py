"""Prepare: the eight-bit files that bench runs, made once per model and kept in a cache folder.

ours.onnx   q8tool quantize --images, QDQ
nodata.onnx q8tool quantize without photos
ort.onnx    onnxruntime.quantization.quantize_static: QDQ, uint8 activations, int8 weights per
            channel, min/max over the same photos
nncf.xml    nncf.quantize for OpenVINO, over the same photos; only where nncf is installed
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from q8tool import Session
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
    without_data: Path
    onnxruntime: Path
    nncf: Path | None


def data_dir() -> Path:
    """Models and photos: Q8_DATA, by default ../shared/data from the project's root."""
    return Path(os.environ.get("Q8_DATA", "../shared/data"))


def prepare(model: Path, cache: Path, preset: str) -> Files:
    """Makes what is missing in cache/<model name>/."""
    folder = cache / model.stem
    folder.mkdir(parents=True, exist_ok=True)
    nncf = folder / "nncf.xml" if find_spec("nncf") else None
    files = Files(
        model.stem, model, folder / "ours.onnx", folder / "nodata.onnx", folder / "ort.onnx", nncf
    )
    photos = find_photos([data_dir() / "imagenet"])[:: 500 // PHOTOS][:PHOTOS]
    preprocessing = SpecOptions(preset)
    if not files.ours.exists():
        quantize.run(
            quantize.Options(model, files.ours, images=photos, preprocessing=preprocessing)
        )
    if not files.without_data.exists():
        quantize.run(quantize.Options(model, files.without_data, preprocessing=preprocessing))
    if not files.onnxruntime.exists():
        _by_onnxruntime(model, files.onnxruntime, photos, preset)
    if nncf is not None and not nncf.exists():
        _by_nncf(model, nncf, photos, preset)
    return files


class _Photos:
    """What onnxruntime calls a calibration data reader."""

    def __init__(self, samples: Iterator[dict[str, Any]]) -> None:
        self._samples = samples

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def _samples(model: Path, photos: list[Path], preset: str) -> Iterator[dict[str, Any]]:
    info = image_input(Session(model).inputs)
    height, width = (d if isinstance(d, int) else 224 for d in (info.shape or ())[2:4])
    mean, std = PRESETS[preset]
    spec = Spec((height, width), mean, std)
    return ({info.name: np.asarray(to_tensor(load_photo(p), spec))} for p in photos)


def _by_onnxruntime(model: Path, output: Path, photos: list[Path], preset: str) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = output.with_suffix(".pre.onnx")
    quant_pre_process(model, ready, skip_symbolic_shape=True)
    quantize_static(
        ready, output, _Photos(_samples(model, photos, preset)), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    ready.unlink()


def _by_nncf(model: Path, output: Path, photos: list[Path], preset: str) -> None:
    import nncf
    import openvino

    samples = nncf.Dataset(list(_samples(model, photos, preset)))
    network = openvino.Core().read_model(model)
    openvino.save_model(
        nncf.quantize(network, samples, subset_size=len(photos)), output, compress_to_fp16=False
    )
