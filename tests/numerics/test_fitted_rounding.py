"""Fitted rounding: the error of the results falls, and by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.numerics.fitted_rounding import fitted_codes
from tests.graphs import Array, f32


def _error(inputs: Array, weights: Array, codes: Array, scale: Array) -> float:
    return float(np.square(inputs @ (codes * scale - weights)).sum())


def test_by_hand() -> None:
    """Two equal inputs: 0.4 + 0.4 is nearer to 1 than to 0, one code alone makes it 1."""
    inputs = f32([[[1, -1], [1, -1]]])
    weights, scale = f32([[[0.4], [0.4]]]), f32([[1]])
    found = fitted_codes(weights, scale, np.zeros((1, 2, 1), np.int8), inputs)
    assert int(found.sum()) == 1


def test_inputs_without_meaning_leave_the_nearest_codes() -> None:
    """Inputs that are all zero say nothing; the weights are kept to."""
    weights = f32([[[0.4], [0.6], [-1.7]]])
    inputs = np.zeros((1, 3, 5), np.float32)
    found = fitted_codes(weights, f32([[1]]), np.zeros((1, 3, 1), np.int8), inputs)
    np.testing.assert_array_equal(found.ravel(), [0, 1, -2])


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 4),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 9),
    places=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_no_worse(groups: int, inputs: int, outputs: int, places: int, seed: int) -> None:
    """Of any inputs the results' error, with the ridge's share, does not grow; codes stay int8."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((groups, places, inputs), np.float32)
    x[:, :, 1::2] += x[:, :, : inputs // 2 * 2 : 2]
    weights = random.standard_normal((groups, inputs, outputs), np.float32)
    scale = np.abs(weights).max(axis=1) / np.float32(127)
    codes = np.rint(weights / scale[:, None]).astype(np.int8)
    found = fitted_codes(weights, scale, codes, x.transpose(0, 2, 1))
    ridge = np.square(x).sum(axis=1).mean(axis=1)
    for g in range(groups):
        before, after = (
            _error(x[g], weights[g], c, scale[g])
            + ridge[g] * float(np.square(c * scale[g] - weights[g]).sum())
            for c in (codes[g], found[g])
        )
        assert after <= before * (1 + 1e-4) + 1e-9
    assert found.dtype == np.int8
    assert int(found.min()) >= -127
