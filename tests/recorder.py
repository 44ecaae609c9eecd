"""A pytest plugin: keeps every eight-bit model that a Session runs, its inputs and its results.

    pytest -p tests.recorder --record FOLDER tests/engine    on one machine
    python -m tests.replay FOLDER                            on another: are they the same bytes?

A model that runs several times, on several instruction sets or numbers of threads, is kept once;
one that sees many inputs, such as photos, with the first of them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from q8tool.engine.session import Session

_WORDS = ("QuantizeLinear", "QLinear", "QGemm", "Integer", "DynamicQuantize", "NBits")
_MOST_BYTES = 64 << 20
_MOST_RUNS = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FOLDER", type=Path, help="where models are kept")


@pytest.fixture(scope="session", autouse=True)
def _recording(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.config.getoption("--record")
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "__init__", _keeping_model(Session.__init__))
        patch.setattr(Session, "run", _keeping_results(Session.run, folder))
        yield


def _keeping_model(begin: Any) -> Any:
    def init(self: Any, model: Any, *arguments: Any, **options: Any) -> None:
        data = _bytes_of(model)
        begin(self, model, *arguments, **options)
        self.recorded, self.observed = data, list(options.get("observe", ()))
        self.recordings = 0

    return init


def _keeping_results(run: Any, folder: Path) -> Any:
    def kept(self: Any, feeds: Mapping[str, npt.ArrayLike], *arguments: Any, **options: Any) -> Any:
        results = run(self, feeds, *arguments, **options)
        # Later runs are left alone: somebody may take their time.
        if self.recorded is not None and self.recordings < _MOST_RUNS:
            self.recordings += 1
            arrays = {name: np.asarray(array) for name, array in feeds.items()}
            _keep(folder, self.recorded, self.observed, arrays, results)
        return results

    return kept


def _bytes_of(model: Any) -> bytes | None:
    """The model as a file; None if it is too large, in parts, or has nothing of eight bits."""
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        try:
            proto = onnx.load(path, load_external_data=False)
        except Exception:  # the session says what is wrong with it
            return None
    else:
        proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    weights = proto.graph.initializer
    if any(w.data_location == onnx.TensorProto.EXTERNAL for w in weights):
        return None
    is_coded = any(word in node.op_type for node in proto.graph.node for word in _WORDS)
    return proto.SerializeToString(deterministic=True) if is_coded else None


def _keep(
    folder: Path,
    model: bytes,
    observed: Sequence[str],
    feeds: Mapping[str, npt.NDArray[Any]],
    results: Mapping[str, npt.NDArray[Any]],
) -> None:
    if any(array.dtype.hasobject for array in [*feeds.values(), *results.values()]):
        return
    about = hashlib.sha256(model + repr(observed).encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    for name, array in sorted(feeds.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    name = f"{about}-{digest.hexdigest()[:8]}"
    kept = list(folder.glob(f"{about}-*.json"))
    if len(kept) >= _MOST_RUNS or folder / f"{name}.json" in kept:
        return
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" (")[0]
    (folder / f"{name}.onnx").write_bytes(model)
    (folder / f"{name}.json").write_text(
        json.dumps(
            {"test": test, "observe": observed, "feeds": list(feeds), "results": list(results)}
        )
    )
    # Under numbers: names may be no file names.
    np.savez(
        folder / f"{name}.npz",
        **{f"feed{i}": array for i, array in enumerate(feeds.values())},  # type: ignore[arg-type]
        **{f"result{i}": array for i, array in enumerate(results.values())},  # type: ignore[arg-type]
    )
