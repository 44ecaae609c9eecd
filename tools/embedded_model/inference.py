"""Models run in onnxruntime, on one thread so that answers repeat."""

import numpy as np
import onnxruntime as ort

from embedded_model.photos import Array, normalize

__all__ = ["open_session", "run_batched"]

BATCH = 32


def open_session(model: bytes) -> ort.InferenceSession:
    """A session of a serialized model on one thread of the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_batched(session: ort.InferenceSession, pixels: Array) -> Array:
    """First output, float32 (N, ...), for uint8 NHWC pixels; N at least 1."""
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: normalize(pixels[i : i + BATCH])})[0]
        for i in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(parts)
