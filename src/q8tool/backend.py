"""q8tool as an ONNX backend (onnx.backend.base): prepare a model once, run it on arrays.

    import q8tool.backend
    q8tool.backend.prepare(model).run([x])

It runs on the CPU, on our own engine; operators that C does not do go to the host.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from q8tool.engine.session import Session
from q8tool.errors import UnsupportedError, UsageError
from q8tool.model.sound_inference import guard_inference

__all__ = [
    "Q8Backend",
    "Q8BackendRep",
    "is_compatible",
    "prepare",
    "run",
    "run_model",
    "run_node",
    "supports_device",
]


class Q8BackendRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in the model's order, to be had by index or by name.

        inputs  one array per input in the model's order, an array alone, or arrays by name

        Raises UsageError for a missing input, too many, a wrong type or shape.
        """
        known = [info.name for info in self._session.inputs]
        if isinstance(inputs, Mapping):
            feeds = dict(inputs)
        else:
            given = inputs if isinstance(inputs, list | tuple) else [inputs]
            if len(given) > len(known):
                raise UsageError(f"{len(given)} arrays for a model of {len(known)} inputs")
            feeds = dict(zip(known, given, strict=False))
        results = self._session.run(feeds)
        names = [info.name for info in self._session.outputs]
        return namedtupledict("Outputs", names)(*(results[name] for name in names))


class Q8Backend(Backend):
    """Prepares models for our engine."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether every operator of the model is implemented."""
        try:
            Session(model)
        except UnsupportedError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Q8BackendRep:
        """The model, compiled. kwargs go to Session: threads, isa, strict.

        Raises UnsupportedError for an operator that nobody implements, UsageError for a device
        that is not the CPU.
        """
        if not cls.supports_device(device):
            raise UsageError(f"there is no device {device}", "q8tool runs on the CPU")
        onnx.checker.check_model(model)
        return Q8BackendRep(Session(model, **kwargs))

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """One node on arrays, in the order of its inputs. opset_version: None: the newest."""
        version = kwargs.pop("opset_version", None) or onnx.defs.onnx_opset_version()
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        names = [name for name in node.input if name]
        values = [_described(n, np.asarray(x)) for n, x in zip(names, given, strict=True)]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", values, outputs)
        opsets = [helper.make_opsetid(node.domain, version)]
        model = helper.make_model_gen_version(graph, opset_imports=opsets)
        guard_inference()
        return Q8BackendRep(Session(onnx.shape_inference.infer_shapes(model))).run(list(given))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it is the CPU."""
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except AttributeError:
            return False


def _described(name: str, array: np.ndarray[Any, Any]) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, dtype, array.shape)


is_compatible = Q8Backend.is_compatible
prepare = Q8Backend.prepare
run = run_model = Q8Backend.run_model
run_node = Q8Backend.run_node
supports_device = Q8Backend.supports_device
