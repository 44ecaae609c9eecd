"""ScatterElements and ScatterND on the host, against onnx.reference, with places that repeat."""

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from tests.graphs import proto, random

REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, -1])
def test_elements(reduction: str, axis: int) -> None:
    generator = np.random.default_rng(axis + 1)
    made = proto(
        "g (float[5,4] x, int64[3,4] i, float[3,4] u) => (float[5,4] y) "
        f'{{ y = ScatterElements<axis={axis}, reduction="{reduction}">(x, i, u) }}',
        18,
    )
    places = generator.integers(-4, 4, (3, 4))
    feeds = {"x": random(5, 4), "i": places, "u": random(3, 4, seed=1)}
    wanted: Any = ReferenceEvaluator(made).run(None, feeds)
    np.testing.assert_array_equal(Session(made).run(feeds)["y"], wanted[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("depth", "rest"), [(1, "3,4"), (2, "4"), (3, "")])
def test_slices(reduction: str, depth: int, rest: str) -> None:
    shape = [6, *map(int, filter(None, rest.split(",")))]
    made = proto(
        f"g (float[5,3,4] x, int64[6,{depth}] i, float[{','.join(map(str, shape))}] u) "
        f'=> (float[5,3,4] y) {{ y = ScatterND<reduction="{reduction}">(x, i, u) }}',
        18,
    )
    places = np.random.default_rng(depth).integers(-3, 3, (6, depth))
    feeds = {"x": random(5, 3, 4), "i": places, "u": random(*shape, seed=1)}
    wanted: Any = ReferenceEvaluator(made).run(None, feeds)
    np.testing.assert_array_equal(Session(made).run(feeds)["y"], wanted[0])
