"""Channel statistics: those that numpy gives."""

import numpy as np
import pytest

from q8tool.calibrate.channels import collect_channels
from q8tool.calibrate.collect import Sample
from tests.graphs import model, random, run


@pytest.mark.parametrize("opset", [13, 18])
def test_against_numpy(opset: int) -> None:
    graph = model(
        "g (float[1,3,5,4] x) => (float[1,m,h,w] y) { a = Conv (x, w) y = Relu (a) }",
        opset,
        w=random(6, 3, 1, 1),
    )
    feeds = [{"x": random(1, 3, 5, 4, seed=seed)} for seed in range(3)]
    samples = [Sample(str(i), one) for i, one in enumerate(feeds)]
    found = collect_channels(graph, samples, {"y": 1}, 1)["y"]
    wanted = np.stack([run(graph, **one)[0][0].reshape(6, -1) for one in feeds])
    np.testing.assert_allclose(found.low, wanted.min(axis=(0, 2)), atol=1e-6)
    np.testing.assert_allclose(found.high, wanted.max(axis=(0, 2)), atol=1e-6)
    np.testing.assert_allclose(np.stack(found.highs), wanted.max(axis=2), atol=1e-6)
    np.testing.assert_allclose(found.sums, wanted.sum(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.squares, np.square(wanted).sum(axis=(0, 2)), rtol=1e-5)
    assert found.count == 60
