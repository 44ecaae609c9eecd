"""STFT: spectra of overlapping frames of a signal.

onnx.reference goes from frame to frame in Python, and reads a signal of two dimensions, which the
exporter of PyTorch writes and onnxruntime takes as real, as one of length 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["STFT"]

Array = NDArray[Any]


class STFT(OpRun):
    """Signal (N, T), (N, T, 1) or, complex, (N, T, 2) -> (N, frames, bins, 2)."""

    def _run(
        self,
        signal: Array,
        frame_step: Array,
        window: Array | None = None,
        frame_length: Array | None = None,
        onesided: int | None = None,
    ) -> tuple[Array, ...]:
        values = _numbers(signal)
        step, size = int(frame_step), values.shape[-1]
        if frame_length is not None:
            length = int(frame_length)
        else:
            length = size if window is None else len(window)
        if step < 1 or not 0 < length <= size:
            raise ValueError(f"frames of {length}, every {step}, of a signal of {size}")
        frames = np.lib.stride_tricks.sliding_window_view(values, length, axis=-1)[:, ::step]
        if window is not None:
            frames = frames[..., : len(window)] * window[:length]
        is_half = onesided is None or bool(onesided)
        if is_half and not np.iscomplexobj(frames):
            spectra = np.fft.rfft(frames, length)
        else:
            spectra = np.fft.fft(frames, length)[..., : length // 2 + 1 if is_half else length]
        return (np.stack((spectra.real, spectra.imag), -1).astype(signal.dtype),)


def _numbers(signal: Array) -> Array:
    """Real or complex numbers, (N, T)."""
    if signal.ndim == 2:
        return signal
    if signal.ndim != 3 or signal.shape[-1] not in (1, 2):
        raise ValueError(f"a signal of shape {signal.shape}")
    if signal.shape[-1] == 1:
        return signal[..., 0]
    return np.asarray(signal[..., 0] + 1j * signal[..., 1])
