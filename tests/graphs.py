"""Small models from onnx's text form, and whether two of them answer alike in onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from tests.build import exact_onnxruntime

Array = npt.NDArray[Any]

HEAD = '<ir_version: 8, opset_import: ["": {opset}]>\n'


def proto(text: str, opset: int = 13, /, **weights: Array) -> onnx.ModelProto:
    """A model from `name (inputs) => (outputs) { nodes }`; weights become initializers."""
    head = "" if text.lstrip().startswith("<") else HEAD.format(opset=opset)
    model = onnx.parser.parse_model(head + text)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    onnx.checker.check_model(model)
    return model


def model(text: str, opset: int = 13, /, **weights: Array) -> ir.Model:
    """As proto, as a graph."""
    return ir.from_proto(proto(text, opset, **weights))


def f32(numbers: npt.ArrayLike) -> Array:
    """A float32 array."""
    return np.array(numbers, np.float32)


def i64(numbers: npt.ArrayLike) -> Array:
    """An int64 array: indices, shapes."""
    return np.array(numbers, np.int64)


def i32(numbers: npt.ArrayLike) -> Array:
    """An int32 array: sums."""
    return np.array(numbers, np.int32)


def u8(numbers: npt.ArrayLike) -> Array:
    """A uint8 array."""
    return np.array(numbers, np.uint8)


def i8(numbers: npt.ArrayLike) -> Array:
    """An int8 array."""
    return np.array(numbers, np.int8)


def ops(graph: ir.Model) -> list[str]:
    """The operators of the main graph, in order."""
    return [node.op_type for node in graph.graph]


def weight(graph: ir.Model, name: str) -> Array:
    """The array of an initializer."""
    tensor = graph.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def random(*shape: int, seed: int = 0, low: float | None = None) -> Array:
    """Seeded normal float32 numbers; uniform between low and 1 if low is given."""
    generator = np.random.default_rng(seed + sum(shape))
    if low is not None:
        return generator.uniform(low, 1, shape).astype(np.float32)
    return generator.standard_normal(shape, dtype=np.float32)


def run(graph: ir.Model | onnx.ModelProto | Path, **feeds: Array) -> list[Array]:
    """Outputs in onnxruntime, its own graph changes switched off and products exact."""
    given = ir.to_proto(graph) if isinstance(graph, ir.Model) else graph
    return list(exact_onnxruntime(given).run(None, feeds))


def assert_same(
    before: ir.Model | onnx.ModelProto, after: ir.Model, tolerance: float = 0.0, **feeds: Array
) -> None:
    """Both give the same outputs, up to tolerance times the largest of each."""
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    for wanted, got in zip(run(before, **feeds), run(after, **feeds), strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        limit = tolerance * float(np.abs(wanted).max(initial=0)) if tolerance else 0.0
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)
