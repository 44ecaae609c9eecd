"""Sound models of every operator: onnx's own node cases, and eight-bit files of onnxruntime."""

import copy
import functools
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

from tests.engine.foreign_models import MODELS, dynamic, static
from tests.fuzz.seeds import Seeds

__all__ = ["operators"]

_LARGEST = 1 << 14


@functools.cache
def operators() -> Seeds:
    """A model for each case of an operator, fed or with all but its first input constant."""
    # As its functions expand to they are up to 100 times as large, and other operators' cases.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[Any] = collect_testcases(None)
    cases = {
        case.name: case
        for case in found
        if case.data_sets and not case.name.endswith("_expanded") and _nbytes(case) <= _LARGEST
    }
    made = {f"fed {name}.onnx": functools.partial(_fed, case) for name, case in cases.items()}
    made |= {
        f"constant {name}.onnx": functools.partial(_constant, case)
        for name, case in cases.items()
        if len(case.data_sets[0][0]) > 1
    }
    return {**made, **_foreign()}


def _nbytes(case: Any) -> int:
    return sum(getattr(value, "nbytes", 0) for value in case.data_sets[0][0])


def _fed(case: Any) -> bytes:
    return bytes(case.model.SerializeToString())


def _constant(case: Any) -> bytes:
    """Axes, indices and weights are known then, which is what the C engine asks for."""
    model = copy.deepcopy(case.model)
    inputs = list(model.graph.input)
    for value, array in list(zip(inputs, case.data_sets[0][0], strict=True))[1:]:
        if isinstance(array, np.ndarray):
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
            model.graph.input.remove(value)
        elif isinstance(array, onnx.TensorProto):
            model.graph.initializer.add().CopyFrom(array)
            model.graph.initializer[-1].name = value.name
            model.graph.input.remove(value)
    return bytes(model.SerializeToString())


def _foreign() -> Mapping[str, Any]:
    kinds = ["QDQ U8S8", "QDQ S16S8", "QDQ U8S4", "QOperator U8U8", "dynamic U8U8"]
    return {
        f"{kind} {name}.onnx": functools.partial(_quantized, name, *kind.split())
        for name in MODELS
        for kind in kinds
    }


def _quantized(name: str, form: str, types: str) -> bytes:
    model, feeds = MODELS[name](21)
    root = logging.getLogger()
    before = list(root.handlers)  # onnxruntime warns, which would make root print for everybody
    try:
        made = dynamic(model, types) if form == "dynamic" else static(model, feeds, form, types)
    except Exception:  # a form that onnxruntime does not write of this model
        made = model
    finally:
        root.handlers[:] = before
    return bytes(made.SerializeToString())
