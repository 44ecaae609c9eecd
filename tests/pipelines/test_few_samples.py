"""Few samples: what they do not show must not be taken for known."""

from pathlib import Path

import numpy as np

from q8tool.pipelines import quantize
from q8tool.pipelines.quantize import Options
from tests.graphs import model, random
from tests.pipelines.classifiers import saved

TEXT = "g (float[2,64] x) => (float[2,64] y) { a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) }"


def test_ten_rows_do_not_make_channels_overflow(tmp_path: Path) -> None:
    """Each channel was seen sixteen times: scaled to fill its codes it would clip the next rows."""
    graph = model(TEXT, 14, w=random(64, 64), v=random(64, 64, seed=3))
    np.savez(tmp_path / "d.npz", x=random(10, 2, 64, seed=10))
    path = saved(graph, tmp_path / "m.onnx")
    report = quantize.run(
        Options(path, tmp_path / "q.onnx", data=tmp_path / "d.npz", allow_slower=True)
    )
    assert report.comparison.sqnr_db is not None
    assert report.comparison.sqnr_db > 30
