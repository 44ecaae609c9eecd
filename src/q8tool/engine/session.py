"""Session: a model compiled for this CPU, run as often as wanted."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from q8tool.engine.graph import Graph, Node, TensorInfo, read_graph
from q8tool.errors import UsageError
from q8tool.model import io
from q8tool.ops.host import HostOperator

__all__ = ["Session", "StepInfo", "TensorInfo"]


@dataclass(frozen=True)
class StepInfo:
    """One step of a plan, for reports.

    nodes        names of the model's nodes that it does the work of
    op           their operators, joined by "+"
    kernel       what C runs, "host" if the step stays in Python
    dtype        "u8", "f32" or "host"
    macs         multiply-adds
    reason       why the step is float or on the host, "" where there is nothing to explain
    nanoseconds  of the measured run; 0 in explain
    """

    nodes: tuple[str, ...]
    op: str
    kernel: str
    dtype: str
    macs: int = 0
    reason: str = ""
    nanoseconds: int = 0


class Session:
    """Loads a model once and runs it.

    model    a path, an onnx_ir.Model or an onnx.ModelProto
    threads  how many to use, the caller's included; None: one per core
    isa      an instruction set of `q8tool selftest`, None: the best of this CPU
    strict   refuse a model that C cannot run whole
    observe  names of intermediate values that run returns as well, in ONNX layout
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ir.Model | onnx.ModelProto,
        threads: int | None = None,
        isa: str | None = None,
        *,
        strict: bool = False,
        observe: Sequence[str] = (),
    ) -> None:
        self._graph = read_graph(_loaded(model))
        self._observe = tuple(observe)
        self._threads, self._isa, self._strict = threads, isa, strict
        self._constants = {name: read() for name, read in self._graph.constants.items()}
        self._host = {
            node: HostOperator(node.proto, node.reads, self._graph.opsets)
            for node in self._graph.nodes
        }

    @property
    def inputs(self) -> list[TensorInfo]:
        """What run must be fed."""
        return [info for info in self._graph.inputs if info.name not in self._graph.optional]

    @property
    def outputs(self) -> list[TensorInfo]:
        """What run returns."""
        return list(self._graph.outputs)

    def run(
        self, feeds: Mapping[str, npt.ArrayLike], outputs: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Results by name: all outputs and observed values, or those asked for."""
        wanted = (
            [*[o.name for o in self._graph.outputs], *self._observe] if outputs is None else outputs
        )
        values: dict[str, Any] = dict(self._constants)
        for info in self._graph.inputs:
            if info.name in feeds:
                values[info.name] = np.asarray(feeds[info.name], info.dtype)
            elif info.name not in values:
                raise UsageError(f"input '{info.name}' is missing")
        for node in self._graph.nodes:
            results = self._host[node].run([values[name] for name in node.reads])
            names = [name for name in node.outputs if name]
            values.update(zip(names, results, strict=True))
        missing = [name for name in wanted if name not in values]
        if missing:
            raise UsageError(f"the model has no value '{missing[0]}'")
        return {name: values[name] for name in wanted}

    def explain(self) -> list[StepInfo]:
        """Every step with its kernel and type."""
        return [self._info(node) for node in self._graph.nodes]

    def profile(self) -> list[StepInfo]:
        """explain, with the time of every step."""
        return self.explain()

    def _info(self, node: Node) -> StepInfo:
        return StepInfo((node.name,), node.op_type, "host", "host")


def _loaded(model: str | os.PathLike[str] | ir.Model | onnx.ModelProto) -> ir.Model:
    if isinstance(model, ir.Model):
        return model
    if isinstance(model, onnx.ModelProto):
        return ir.from_proto(model)
    return io.load(model)
