"""Level range: by hand, and never worse than the levels' own ends."""

import numpy as np
import pytest

from q8tool.numerics.level_range import level_range
from tests.graphs import Array, f32

PIXELS = np.arange(256, dtype=np.float32)


def _error(levels: Array, low: float, high: float) -> float:
    """ONNX QuantizeLinear and DequantizeLinear, in float64."""
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(levels.astype(np.float64) / scale) + zero, 0, 255)
    return float(np.square((codes - zero) * scale - levels).mean())


def test_levels_on_the_grid_keep_their_ends() -> None:
    """0..1 in 255 steps, and -127/128..1, are codes already."""
    assert level_range(f32(PIXELS / 255)) == (0.0, 1.0)
    assert level_range(f32((PIXELS - 127) / 128)) == (-127 / 128, 1.0)


@pytest.mark.parametrize(("mean", "std"), [(127.5, 127.5), (128, 100), (120.3, 57), (100, 1)])
def test_error_falls(mean: float, std: float) -> None:
    """Half a step beside the grid, the error falls to less than a third."""
    levels = f32((PIXELS - mean) / std)
    plain = _error(levels, float(levels.min()), float(levels.max()))
    found = _error(levels, *level_range(levels))
    assert found <= plain * 1.001
    if mean == 127.5:
        assert found < plain / 3


def test_one_value() -> None:
    """A constant input, also 0, has a range."""
    assert level_range(f32([0.0])) == (0.0, 0.0)
    low, high = level_range(f32([-3.0]))
    assert low <= -3.0
    assert high >= 0.0
