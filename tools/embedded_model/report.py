"""What the finished file is worth on photos nothing was trained or chosen on."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from embedded_model.inference import open_session, run_batched
from embedded_model.log import say
from embedded_model.photos import LABELS, Array, Item, normalize, stretch

__all__ = ["report"]


def report(path: Path, parts: dict[str, list[Item]], size: int) -> None:
    """Print what src/q8tool/data/README.md states.

    path         the ONNX file
    parts        of load_photos: "test" is measured, "training" calibrates the 8-bit check
    size         input height and width of the file
    """
    model = path.read_bytes()
    count = sum(int(np.prod(t.dims)) for t in onnx.load_from_string(model).graph.initializer)
    say(f"{path.name}: {len(model)} bytes, {count} numbers")
    say(f"sha256 {hashlib.sha256(model).hexdigest()}")
    score, confusion = _evaluate(model, parts["test"], size)
    say(f"float accuracy on {len(parts['test'])} test photos: {score:.4f}")
    say(confusion)
    int8 = _quantize_with_onnxruntime(path, parts["training"][::8], size)
    say(f"int8 by onnxruntime, same photos: {_evaluate(int8, parts['test'], size)[0]:.4f}")


def _evaluate(model: bytes, items: list[Item], size: int) -> tuple[float, Array]:
    """Accuracy and confusion matrix (row: truth) in onnxruntime, from pictures to answers."""
    pixels = np.stack([stretch(item.image, size) for item in items])
    answers = run_batched(open_session(model), pixels).argmax(1)
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, ([item.label for item in items], answers), 1)
    return float(confusion.trace() / confusion.sum()), confusion


def _quantize_with_onnxruntime(path: Path, items: list[Item], size: int) -> bytes:
    """A plain per-channel int8 version, to see that the float model is easy to quantize."""
    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(folded))
        quantize_static(
            str(folded), str(quantized), _Photos(items, size), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return quantized.read_bytes()


class _Photos(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The pictures as onnxruntime's calibration asks for them: one at a time, then None."""

    def __init__(self, items: list[Item], size: int) -> None:
        self.rest, self.size = iter(items), size

    def get_next(self) -> dict[str, Array] | None:
        """The next feed, or None at the end."""
        item = next(self.rest, None)
        if item is None:
            return None
        return {"input": normalize(stretch(item.image, self.size)[None])}
