"""Three small float models for other people's quantizers, and what those write of them."""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tests.build import Array, model_of, node

Feeds = dict[str, Array]


def _random(*shape: int, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed + sum(shape))
    return generator.standard_normal(shape, dtype=np.float32)


def _weights(*shape: int, seed: int = 0) -> Array:
    """Scaled so that values keep their size through a layer."""
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    return np.asarray(_random(*shape, seed=seed) / np.sqrt(fan_in), np.float32)


def convolutional(opset: int = 14) -> tuple[onnx.ModelProto, Feeds]:
    """Convolutions, a residual sum, activations, Concat, poolings, a product."""
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "sum"),
        node("Relu", "sum", "r2"),
        node("Conv", "r2 w3", "c3", pads=[1, 1, 1, 1], group=8),
        node("LeakyRelu", "c3", "leaky", alpha=0.2),
        node("Conv", "r2 w4 b4", "c4"),
        node("Sigmoid", "c4", "gate"),
        node("Mul", "c4 gate", "swish"),
        node("HardSwish", "c4", "hard") if opset >= 14 else node("Relu", "c4", "hard"),
        node("Concat", "leaky swish hard", "all", axis=1),
        node("AveragePool", "all", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", "small", "top", kernel_shape=[2, 2], strides=[1, 1]),
        node("GlobalAveragePool", "top", "mean"),
        node("Flatten", "mean", "features"),
        node("Gemm", "features w5 b5", "y", transB=1),
    ]
    weights = {
        "w1": _weights(8, 3, 3, 3), "b1": _random(8),
        "w2": _weights(8, 8, 3, 3), "b2": _random(8, seed=1),
        "w3": _weights(8, 1, 3, 3),
        "w4": _weights(8, 8, 1, 1), "b4": _random(8, seed=2),
        "w5": _weights(10, 24), "b5": _random(10),
    }  # fmt: skip
    return model_of(nodes, {"x": _random(1, 3, 16, 16)}, weights, ["y"], opset), {
        "x": _random(1, 3, 16, 16)
    }


def transformer(opset: int = 14) -> tuple[onnx.ModelProto, Feeds]:
    """Attention of one head, a sum, Gemm: products of two values, of a value and weights."""
    nodes = [
        node("MatMul", "x wq", "q"),
        node("MatMul", "x wk", "k"),
        node("MatMul", "x wv", "v"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "share", axis=-1),
        node("MatMul", "share v", "seen"),
        node("Add", "seen x", "sum"),
        node("MatMul", "sum w1", "wide"),
        node("Add", "wide b1", "biased"),
        node("Relu", "biased", "bent"),
        node("Reshape", "bent shape", "flat"),
        node("Gemm", "flat w2 b2", "y"),
    ]
    weights = {
        "wq": _weights(16, 16), "wk": _weights(16, 16, seed=1), "wv": _weights(16, 16, seed=2),
        "scale": np.asarray(0.25, np.float32),
        "w1": _weights(16, 32), "b1": _random(32),
        "shape": np.asarray([6, 32], np.int64),
        "w2": _weights(32, 10), "b2": _random(10),
    }  # fmt: skip
    return model_of(nodes, {"x": _random(1, 6, 16)}, weights, ["y"], opset), {
        "x": _random(1, 6, 16)
    }


def mixed(opset: int = 14) -> tuple[onnx.ModelProto, Feeds]:
    """A convolution, data movement, a product, Softmax."""
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Clip", "c1 zero six", "clipped"),
        node("Split", "clipped halves", "left right", axis=1),
        node("Mul", "left right", "product"),
        node("Pad", "product pads", "padded"),
        node("Transpose", "padded", "last", perm=[0, 2, 3, 1]),
        node("Reshape", "last shape", "rows"),
        node("MatMul", "rows w2", "values"),
        node("Sub", "values rows", "chosen"),
        node("Unsqueeze", "chosen front", "deep"),
        node("Squeeze", "deep front", "flat"),
        node("Softmax", "flat", "y", axis=-1),
    ]
    weights = {
        "w1": _weights(8, 3, 3, 3), "b1": _random(8),
        "zero": np.asarray(0, np.float32), "six": np.asarray(6, np.float32),
        "halves": np.asarray([4, 4], np.int64),
        "pads": np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "shape": np.asarray([-1, 4], np.int64),
        "w2": _weights(4, 4),
        "front": np.asarray([0], np.int64),
    }  # fmt: skip
    feeds = {"x": _random(1, 3, 6, 6)}
    return model_of(nodes, feeds, weights, ["y"], opset), feeds


MODELS = {"convolutional": convolutional, "transformer": transformer, "mixed": mixed}

_TYPES = {
    "U8U8": (QuantType.QUInt8, QuantType.QUInt8),
    "U8S8": (QuantType.QUInt8, QuantType.QInt8),
    "S8S8": (QuantType.QInt8, QuantType.QInt8),
    "U16S8": (QuantType.QUInt16, QuantType.QInt8),
    "S16S8": (QuantType.QInt16, QuantType.QInt8),
    "U16U16": (QuantType.QUInt16, QuantType.QUInt16),
    "U8S4": (QuantType.QUInt8, QuantType.QInt4),
    "U8U4": (QuantType.QUInt8, QuantType.QUInt4),
}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """A few random samples like the given feeds, and the feeds themselves."""

    def __init__(self, feeds: Mapping[str, Array]) -> None:
        samples = [
            {name: _random(*array.shape, seed=seed) for name, array in feeds.items()}
            for seed in range(1, 4)
        ]
        self._samples: Iterator[Feeds] = iter([*samples, dict(feeds)])

    def get_next(self) -> Feeds | None:
        return next(self._samples, None)


def static(
    model: onnx.ModelProto, feeds: Mapping[str, Array], form: str, types: str, **options: Any
) -> onnx.ModelProto:
    """What quantize_static writes. form: "QDQ" or "QOperator"."""
    activations, weights = _TYPES[types]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.onnx"
        quantize_static(
            copy.deepcopy(model), path, _Reader(feeds), quant_format=QuantFormat[form],
            activation_type=activations, weight_type=weights, **options,
        )  # fmt: skip
        return onnx.load(path)


def dynamic(model: onnx.ModelProto, types: str, **options: Any) -> onnx.ModelProto:
    """What quantize_dynamic writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.onnx"
        quantize_dynamic(copy.deepcopy(model), path, weight_type=_TYPES[types][1], **options)
        return onnx.load(path)
