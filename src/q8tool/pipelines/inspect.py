"""inspect: what is in a model."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import UsageError
from q8tool.model import io, metadata
from q8tool.model.graph import all_graphs, all_nodes, constant, op_counts
from q8tool.model.shapes import infer_shapes
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.quantized_tensors import QuantizedTensor, quantized_tensors

__all__ = ["Options", "Port", "Report", "Values", "WeightTotal", "run", "values_of"]

# Codes whose meaning is shown for a tensor that is computed: the ends, quarters and the middle.
_SAMPLE_STEPS = 8


@dataclass(frozen=True)
class Options:
    """Which model to look at; tensor: the name of one whose values are wanted, None for all."""

    input_path: Path
    tensor: str | None = None


@dataclass(frozen=True)
class Port:
    """A graph input or output. shape: numbers, names of symbolic dimensions, None if unknown."""

    name: str
    dtype: str
    shape: list[int | str | None] | None


@dataclass(frozen=True)
class WeightTotal:
    """All weights of one type: how many tensors, numbers and bytes."""

    dtype: str
    tensors: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class Values:
    """The values of one tensor.

    codes     as they are stored, or a sample of all codes if the tensor is computed; None: float
    reals     what they stand for; None if the scale is not in the file
    stored    whether the file holds them
    """

    name: str
    dtype: str
    codes: npt.NDArray[Any] | None
    reals: npt.NDArray[Any] | None
    stored: bool

    def to_json(self) -> dict[str, Any]:
        """All values as nested lists."""
        return {
            "tensor": self.name,
            "dtype": self.dtype,
            "stored": self.stored,
            "codes": None if self.codes is None else self.codes.tolist(),
            "reals": None if self.reals is None else _finite(self.reals),
        }


@dataclass(frozen=True)
class Report:
    """What is in a model; bytes on disk include external data."""

    path: str
    bytes: int
    ir_version: int
    opsets: dict[str, int]
    producer: str
    inputs: list[Port]
    outputs: list[Port]
    labels: list[str] | None
    preprocess: dict[str, Any] | None
    metadata: dict[str, str]
    op_counts: dict[str, int]
    weights: list[WeightTotal]
    quantized: list[QuantizedTensor]
    values: Values | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; with a tensor asked for, its values only."""
        if self.values is not None:
            return self.values.to_json()
        plain = {
            name: getattr(self, name)
            for name in ("path", "bytes", "ir_version", "opsets", "producer")
        }
        return {
            **plain,
            "inputs": [vars(port) for port in self.inputs],
            "outputs": [vars(port) for port in self.outputs],
            "labels": self.labels,
            "preprocess": self.preprocess,
            "metadata": self.metadata,
            "operators": self.op_counts,
            "weights": [vars(total) for total in self.weights],
            "quantized": [_quantized_json(tensor) for tensor in self.quantized],
        }


def run(options: Options, progress: Progress = silent) -> Report:
    """Read a model and describe it.

    Raises InputError if it is not usable, UsageError if it has no tensor of the name asked for.
    """
    progress("reading", 0, 2)
    model = io.load(options.input_path)
    infer_shapes(model, through_values=False)
    progress("describing", 1, 2)
    quantized = quantized_tensors(model)
    values = None if options.tensor is None else values_of(model, quantized, options.tensor)
    return Report(
        path=str(options.input_path),
        bytes=io.file_bytes(model, options.input_path),
        ir_version=model.ir_version,
        opsets={domain or "ai.onnx": version for domain, version in model.opset_imports.items()},
        producer=f"{model.producer_name or ''} {model.producer_version or ''}".strip(),
        inputs=[_port(value) for value in model.graph.inputs if not value.is_initializer()],
        outputs=[_port(value) for value in model.graph.outputs],
        labels=metadata.labels(model),
        preprocess=metadata.preprocess(model),
        metadata=dict(sorted(model.metadata_props.items())),
        op_counts=op_counts(model),
        weights=_weight_totals(model),
        quantized=quantized,
        values=values,
    )


def values_of(model: ir.Model, quantized: list[QuantizedTensor], name: str) -> Values:
    """The values of a weight, both ways where it is quantized; sample codes of what is computed.

    Raises UsageError if there is no such tensor or the file says nothing about its values.
    """
    for tensor in quantized:
        if tensor.name == name:
            codes = tensor.codes if tensor.codes is not None else _sample_codes(tensor)
            return Values(name, tensor.dtype, codes, tensor.reals(codes), tensor.codes is not None)
    known = {
        value.name: value
        for graph in all_graphs(model)
        for value in [*graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        if value.name
    }
    array = constant(known.get(name))
    if array is not None:
        return Values(name, str(array.dtype), None, array, True)
    if name in known or any(value.name == name for value in model.graph.inputs):
        raise UsageError(f"'{name}' is computed in float: the file holds no values of it")
    near = difflib.get_close_matches(name, [*known, *(t.name for t in quantized)], n=1)
    raise UsageError(
        f"the model has no tensor '{name}'", f"did you mean {near[0]}?" if near else ""
    )


def _sample_codes(tensor: QuantizedTensor) -> npt.NDArray[Any]:
    info = ir.DataType[tensor.dtype.upper()]
    steps = np.linspace(int(info.min), int(info.max), _SAMPLE_STEPS + 1).round().astype(np.int64)
    if tensor.zero_point is not None and tensor.zero_point.ndim == 0:
        steps = np.unique(np.append(steps, tensor.zero_point))
    return steps.astype(info.numpy())


def _port(value: ir.Value) -> Port:
    shape = None if value.shape is None else [_dim(dim) for dim in value.shape]
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    return Port(value.name or "", dtype, shape)


def _dim(dim: int | ir.SymbolicDim) -> int | str | None:
    return dim if isinstance(dim, int) else dim.value


def _weight_totals(model: ir.Model) -> list[WeightTotal]:
    groups: dict[str, list[ir.TensorProtocol]] = {}
    for tensor in _weights(model):
        groups.setdefault(tensor.dtype.name.lower(), []).append(tensor)
    totals = [
        WeightTotal(name, len(group), sum(t.size for t in group), sum(t.nbytes for t in group))
        for name, group in groups.items()
    ]
    return sorted(totals, key=lambda total: (-total.bytes, total.dtype))


def _weights(model: ir.Model) -> list[ir.TensorProtocol]:
    """The tensors of all initializers and Constant nodes."""
    found = [
        value.const_value
        for graph in all_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    for node in all_nodes(model.graph):
        if node.op_type == "Constant" and node.domain == "":
            tensor = ir.convenience.get_const_tensor(node.outputs[0])
            if tensor is not None:
                found.append(tensor)
    return found


def _quantized_json(tensor: QuantizedTensor) -> dict[str, Any]:
    bounds = tensor.bounds() or (None, None)
    return {
        "name": tensor.name,
        "kind": tensor.kind,
        "dtype": tensor.dtype,
        "min": bounds[0],
        "max": bounds[1],
        "scale": None if tensor.scale is None else tensor.scale.astype(np.float64).tolist(),
        "zero_point": None if tensor.zero_point is None else tensor.zero_point.tolist(),
        "axis": tensor.axis,
    }


def _finite(array: npt.NDArray[Any]) -> list[Any]:
    """Nested lists for JSON, which has neither NaN nor infinity: those become strings."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return list(np.atleast_1d(array).tolist())
    return list(np.where(np.isfinite(array), array.astype(object), array.astype(str)).tolist())
