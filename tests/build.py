"""Float models, and the same models with QuantizeLinear and DequantizeLinear around every value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

from tests.exact_products import exact_products, has_products

Array = npt.NDArray[Any]


@dataclass
class Case:
    """A small float model.

    nodes    in order; the last one's first output is the model's
    inputs   name -> array to feed
    weights  name -> array; those named in `axes` become int8 in the quantized form, per channel of
             that axis, or with axis None per tensor
    biases   names of weights that become int32 at the scale of `bias_of`: (input, weight)
    """

    name: str
    nodes: Sequence[NodeProto]
    inputs: Mapping[str, Array]
    weights: Mapping[str, Array] = field(default_factory=dict)
    axes: Mapping[str, int | None] = field(default_factory=dict)
    opset: int = 17


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node from names separated by spaces; "-" is one left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(
        op_type, names, outputs.split(), name=f"{op_type}_{outputs}", **attributes
    )


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Array],
    weights: Mapping[str, Array],
    outputs: Sequence[str],
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model with inferred output types."""
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "case",
        values,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def float_model(case: Case) -> onnx.ModelProto:
    """The case as it is."""
    return model_of(case.nodes, case.inputs, case.weights, [case.nodes[-1].output[0]], case.opset)


def quantized_model(case: Case, dtype: str, *, float_output: bool = False) -> onnx.ModelProto:
    """Every input, weight in `axes` and the result as codes of dtype with a conversion around.

    The output is the codes themselves, or with float_output the last operator's float result.
    """
    nodes: list[NodeProto] = []
    weights: dict[str, Array] = {}
    renamed: dict[str, str] = {}
    for name, array in case.inputs.items():
        nodes += _conversions(weights, name, f"{name}_real", array, dtype)
        renamed[name] = f"{name}_real"
    for name, array in case.weights.items():
        if name not in case.axes:
            weights[name] = array
            continue
        codes, scale = int8_weights(array, case.axes[name])
        weights[f"{name}_codes"], weights[f"{name}_scale"] = codes, scale
        weights[f"{name}_zero"] = np.zeros(scale.shape, np.int8)
        axis = {} if case.axes[name] is None else {"axis": case.axes[name]}
        reads = f"{name}_codes {name}_scale {name}_zero"
        nodes.append(node("DequantizeLinear", reads, f"{name}_real", **axis))
        renamed[name] = f"{name}_real"
    for item in case.nodes:
        copy = NodeProto()
        copy.CopyFrom(item)
        copy.ClearField("input")
        copy.input.extend(renamed.get(name, name) for name in item.input)
        nodes.append(copy)
    result = case.nodes[-1].output[0]
    if float_output:
        return model_of(nodes, case.inputs, weights, [result], case.opset)
    expected = run_onnxruntime(float_model(case), case.inputs)[0]
    nodes += _conversions(weights, result, "unused", expected, dtype)[:1]
    return model_of(nodes, case.inputs, weights, [f"{result}_codes"], case.opset)


def int8_weights(array: Array, axis: int | None) -> tuple[Array, Array]:
    """Symmetric int8 codes and scales."""
    others = None if axis is None else tuple(d for d in range(array.ndim) if d != axis)
    scale = np.asarray(np.maximum(np.abs(array).max(axis=others), 1e-6) / 127, np.float32)
    shape = [-1 if d == axis else 1 for d in range(array.ndim)]
    spread = scale if axis is None else scale.reshape(shape)
    return np.clip(np.rint(array / spread), -127, 127).astype(np.int8), scale


def _conversions(
    weights: dict[str, Array], name: str, result: str, array: Array, dtype: str
) -> list[NodeProto]:
    """name -> codes -> result, with scale and zero point from the array's range."""
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    info = np.iinfo(dtype)
    zero_point = np.clip(np.rint(info.min - low / scale), info.min, info.max)
    weights[f"{name}_scale"] = np.asarray(scale)
    weights[f"{name}_zero"] = np.asarray(zero_point, dtype)
    parameters = f"{name}_scale {name}_zero"
    return [
        node("QuantizeLinear", f"{name} {parameters}", f"{name}_codes"),
        node("DequantizeLinear", f"{name}_codes {parameters}", result),
    ]


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs in onnxruntime, its own graph changes switched off and products exact."""
    return list(exact_onnxruntime(model).run(None, dict(feeds)))


def exact_onnxruntime(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    """A session that runs the model as it is, on one thread; products of codes are exact."""
    if isinstance(model, Path) and has_products(onnx.load(model, load_external_data=False)):
        model = onnx.load(model)
    source = str(model) if isinstance(model, Path) else exact_products(model).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options)


def optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime's optimizer makes of the model: with nodes of its own domain."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/short.onnx"
        onnxruntime.InferenceSession(model.SerializeToString(), options)
        return onnx.load(options.optimized_model_filepath)
