"""Contenders: the engines that bench compares, each behind one function that runs a model once.

q8tool        our Session
onnxruntime   InferenceSession on the CPU, all graph optimizations
openvino      compiled for the CPU, latency hint, float32 as everybody else (its default on some
              CPUs is bfloat16)
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from q8tool.errors import UsageError

__all__ = ["ENGINES", "Feeds", "Runner", "check_engine", "make_runner"]

Feeds = Mapping[str, NDArray[Any]]
Runner = Callable[[Feeds], object]


def check_engine(name: str) -> None:
    """Raises UsageError if the engine is not installed."""
    if find_spec(name) is None:
        raise UsageError(f"{name} is not installed here", f"pip install {name}")


def make_runner(engine: str, model: Path, threads: int) -> Runner:
    """A function that runs the model once with the given feeds on so many threads."""
    return ENGINES[engine](model, threads)


def _q8tool(model: Path, threads: int) -> Runner:
    from q8tool.engine.session import Session

    return Session(model, threads=threads).run


def _onnxruntime(model: Path, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))


def _openvino(model: Path, threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(
        model, "CPU", {**settings, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    )
    request = compiled.create_infer_request()
    return lambda feeds: request.infer(dict(feeds))


ENGINES: dict[str, Callable[[Path, int], Runner]] = {
    "q8tool": _q8tool,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
