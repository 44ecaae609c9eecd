"""Models run a few layers at a time: the answers are those of the whole."""

from typing import Any

import numpy as np
import pytest

from q8tool.engine.parts import run_in_parts
from q8tool.engine.session import Session
from q8tool.model.graph import weight_bytes
from tests.graphs import model, random

# A value that skips parts, one that is an output as well, a subgraph that reads outer values.
TEXT = """g (float[N,8] x, bool c) => (float[N,8] y, float[N,8] b) {
    a = MatMul(x, w0) r = Relu(a) b = MatMul(r, w1) d = MatMul(b, w2)
    e = If (c) <then_branch = t () => (float[N,8] u) { u = Add(r, d) },
                else_branch = f () => (float[N,8] v) { v = MatMul(d, w0) }>
    s = Add(e, x) y = MatMul(s, w1) }"""


@pytest.fixture
def weights() -> dict[str, Any]:
    return {f"w{i}": random(8, 8, seed=i) for i in range(3)}


@pytest.mark.parametrize("part", [1, 300, 600, 10**9])
@pytest.mark.parametrize("condition", [True, False])
def test_parts_give_the_answers_of_the_whole(
    part: int, condition: bool, weights: dict[str, Any]
) -> None:
    graph = model(TEXT, 16, **weights)
    samples = [{"x": random(3, 8, seed=i), "c": np.array(condition)} for i in range(3)]
    found, milliseconds = run_in_parts(graph, samples, 1, part)
    session = Session(model(TEXT, 16, **weights))
    for feeds, answer in zip(samples, found, strict=True):
        wanted = session.run(feeds)
        assert set(answer) == {"y", "b"}
        for name, array in wanted.items():
            np.testing.assert_allclose(answer[name], array, rtol=1e-5, atol=1e-6)
    assert milliseconds > 0
    assert weight_bytes(graph) == 3 * 256
