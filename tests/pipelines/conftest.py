"""What tests of several pipelines share."""

from pathlib import Path

import numpy as np
import pytest

from q8tool.image.spec import Spec
from q8tool.model import io, metadata
from tests.graphs import f32, model

BASE = """g (float[N,3,16,16] x) => (float[N,10] y) {
    c = Conv<strides=[2,2], pads=[1,1,1,1]>(x, k, kb) r = Relu(c) p = GlobalAveragePool(r)
    f = Flatten(p) g = Gemm(f, w, b) y = Softmax(g) }"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of ten classes that sees colours; it carries how to feed it."""
    rng = np.random.default_rng(5)
    graph = model(
        BASE, k=f32(rng.normal(size=(12, 3, 3, 3)) / 5), kb=f32(rng.normal(size=12) / 5),
        w=f32(rng.normal(size=(12, 10))), b=f32(np.zeros(10)),
    )  # fmt: skip
    metadata.set_preprocess(graph, Spec((16, 16)).to_dict())
    path = tmp_path_factory.mktemp("base") / "base.onnx"
    io.save(graph, path, force=False)
    return path
