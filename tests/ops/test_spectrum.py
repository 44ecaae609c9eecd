"""STFT on the host, against onnx.reference and onnxruntime."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from q8tool.errors import InputError
from tests.graphs import proto, random


def stft(shape: str, onesided: int, step: int, **weights: np.ndarray) -> onnx.ModelProto:
    window = "w" if "w" in weights else ""
    length = ", n" if "n" in weights else ""
    return proto(
        f"g (float[{shape}] x) => (float[N,F,K,2] y) {{ s = Constant<value = int64 {{{step}}}>()"
        f" y = STFT<onesided={onesided}>(x, s, {window}{length}) }}",
        17,
        **weights,
    )


@pytest.mark.parametrize(("onesided", "parts"), [(0, 1), (1, 1), (0, 2)])
@pytest.mark.parametrize("step", [5, 16])
def test_as_the_reference(onesided: int, step: int, parts: int) -> None:
    x = random(2, 75, parts)
    window, length = random(16), np.array(20)
    for weights in ({"w": window}, {"n": length}, {"w": window, "n": np.array(16)}):
        made = stft(f"2,75,{parts}", onesided, step, **weights)
        wanted: Any = ReferenceEvaluator(made).run(None, {"x": x})
        got = Session(made).run({"x": x})["y"]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted[0], rtol=1e-4, atol=1e-4)


def test_a_signal_without_parts_is_real_as_in_onnxruntime() -> None:
    x = random(3, 64)
    made = stft("3,64", 1, 8, w=random(16))
    wanted = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(Session(made).run({"x": x})["y"], wanted, rtol=1e-4, atol=1e-4)


def test_frames_longer_than_the_signal_are_refused() -> None:
    with pytest.raises(InputError, match="frames of 16, every 8, of a signal of 9"):
        Session(stft("1,9,1", 1, 8, w=random(16))).run({"x": random(1, 9, 1)})
