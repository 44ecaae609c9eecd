"""Session: loads a model once, compiles it for the shapes that come, and runs it."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from q8tool.engine.explain import StepInfo
from q8tool.engine.program import Runnable, signature_of
from q8tool.engine.source import Source
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import UnsupportedError, UsageError
from q8tool.native.cpu import core_count

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["Session", "StepInfo", "TensorInfo"]

Array = npt.NDArray[Any]
# Programs for so many different input shapes are kept.
_PROGRAMS_KEPT = 4
_PROFILE_RUNS = 5
# Plans are built for the values of parameters of so many bytes, and so often; for others only for
# their shapes.
_PARAMETER_BYTES = 1 << 20
_PARAMETER_PLANS = 32


class Session:
    """A model ready to run.

    model    a path, an onnx_ir.Model or an onnx.ModelProto; it is not changed
    threads  how many to use, the caller's included; None: one per core of this process
    isa      an instruction set that `q8tool selftest` lists, None: the best of this CPU
    strict   refuse a model that C cannot run whole: UnsupportedError names the nodes
    observe  names of intermediate values that run returns as well, in ONNX layout

    A model is compiled for the shapes of its inputs: at once if all are known, else at the first
    run with new shapes. Inputs that say sizes, axes or bounds, or are weights, are compiled for
    their values, at the first run; `strict` looks at such a model then. What a file was compiled
    to is kept for the next process (plan_cache.py).
    Several threads may call run at the same time.
    """

    def __init__(
        self,
        model: "str | os.PathLike[str] | ir.Model | onnx.ModelProto",
        threads: int | None = None,
        isa: str | None = None,
        *,
        strict: bool = False,
        observe: Sequence[str] = (),
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads cannot run anything", "give at least 1")
        self._source = Source(model)
        self.threads = threads or core_count()
        self._isa = isa
        self._strict = strict
        outputs = [info.name for info in self.outputs]
        self._wanted = list(dict.fromkeys([*outputs, *observe]))
        self._check_names(observe)
        self._programs: OrderedDict[Any, Runnable] = OrderedDict()
        self._lock = threading.Lock()
        self._specialized = 0
        is_known = not self._source.summary.parameters and (self._is_static() or strict)
        self._last = self._program(self._assumed_feeds()) if is_known else None

    @property
    def inputs(self) -> list[TensorInfo]:
        """What run must be fed; initializers that are inputs as well are not among it."""
        summary = self._source.summary
        return [info for info in summary.inputs if info.name not in summary.optional]

    @property
    def outputs(self) -> list[TensorInfo]:
        """What run returns."""
        return list(self._source.summary.outputs)

    @property
    def metadata_props(self) -> Mapping[str, str]:
        """The model's notes: labels, preprocessing, provenance."""
        return self._source.summary.metadata_props

    @property
    def probabilities(self) -> frozenset[str]:
        """Names of the outputs that come from Softmax or a sigmoid."""
        return self._source.summary.probabilities

    def run(
        self,
        feeds: Mapping[str, npt.ArrayLike],
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> dict[str, Array]:
        """Results by name.

        feeds    one array per input; its type must be the model's, or convert to it exactly
        outputs  names of those wanted, None: all outputs and observed values
        threads  for this run; None: the session's

        Raises UsageError for a missing or unknown input, a wrong type or shape, an unknown output.
        """
        arrays = self._checked(feeds)
        results = self._program(arrays).run(arrays, threads or self.threads)
        if outputs is None:
            return results
        for name in outputs:
            if name not in results:
                raise UsageError(f"the session returns no '{name}'", f"it has {list(results)}")
        return {name: results[name] for name in outputs}

    def share(self, feeds: Mapping[str, npt.ArrayLike], spare_bytes: int) -> int:
        """How many threads may run such feeds at the same time; others wait for them.

        spare_bytes  what further arenas may take together
        Nothing may run meanwhile.
        """
        return self._program(self._checked(feeds)).share(self.threads, spare_bytes)

    def explain(self) -> list[StepInfo]:
        """Every step with its kernel and type, for the shapes of the last run.

        Before the first run, symbolic dimensions count as 1.
        """
        return (self._last or self._program(self._assumed_feeds(), is_example=True)).infos()

    def profile(self, feeds: Mapping[str, npt.ArrayLike] | None = None) -> list[StepInfo]:
        """explain, with the shortest time of each step over a few runs.

        feeds  None: zeros, symbolic dimensions 1
        """
        if feeds is None:
            feeds = {name: array.copy() for name, array in self._assumed_feeds().items()}
        arrays = self._checked(feeds)
        return self._program(arrays).profile(arrays, self.threads, _PROFILE_RUNS)

    # ---- inside ----

    def _program(self, arrays: Mapping[str, Array], *, is_example: bool = False) -> Runnable:
        """The program for the types and shapes of these arrays, and the values of parameters.

        is_example  their values mean nothing
        """
        fed = signature_of(arrays)
        known = {} if is_example else self._parameters(arrays)
        values = tuple((name, array.tobytes()) for name, array in known.items())
        signature = (tuple(fed.items()), values)
        with self._lock:
            program = self._programs.get(signature)
            if program is None:
                self._specialized += bool(known)
                program = self._source.program(fed, self._wanted, self._isa, known)
                if self._strict:
                    _refuse_host_steps(program)
                self._programs[signature] = program
                if len(self._programs) > _PROGRAMS_KEPT:
                    self._programs.popitem(last=False)
            self._last = program
            return program

    def _parameters(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Small numeric parameters; none once their values have changed too often."""
        if self._specialized >= _PARAMETER_PLANS:
            return {}
        return {
            name: np.array(arrays[name])
            for name in sorted(self._source.summary.parameters)
            if name in arrays
            and arrays[name].dtype.kind in "biuf"
            and arrays[name].nbytes <= _PARAMETER_BYTES
        }

    def _checked(self, feeds: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """C-contiguous arrays of the model's types, in the order of its inputs."""
        arrays: dict[str, Array] = {}
        summary = self._source.summary
        for info in summary.inputs:
            if info.name in feeds:
                arrays[info.name] = _converted(info, feeds[info.name])
            elif info.name not in summary.optional:
                raise UsageError(f"input '{info.name}' is missing", f"feed {_names(self.inputs)}")
        if len(arrays) != len(feeds):
            unknown = sorted(set(feeds) - set(arrays))
            raise UsageError(
                f"the model has no input '{unknown[0]}'", f"feed {_names(self.inputs)}"
            )
        return arrays

    def _check_names(self, observe: Sequence[str]) -> None:
        for name in observe:
            graph = self._source.graph
            if not any(name in node.outputs for node in graph.nodes) and (
                name not in graph.constants and all(name != info.name for info in graph.inputs)
            ):
                raise UsageError(f"the model has no value '{name}'")

    def _is_static(self) -> bool:
        shapes = [info.shape for info in self.inputs]
        return all(s is not None and all(isinstance(d, int) for d in s) for s in shapes)

    def _assumed_feeds(self) -> dict[str, Array]:
        """Zeros of the inputs' shapes, unknown dimensions 1; they take no memory."""
        return {
            info.name: np.broadcast_to(
                np.zeros((), info.dtype), [d if isinstance(d, int) else 1 for d in info.shape or ()]
            )
            for info in self.inputs
        }


def _names(infos: Sequence[TensorInfo]) -> str:
    return ", ".join(f"'{info.name}'" for info in infos)


def _converted(info: TensorInfo, given: npt.ArrayLike) -> Array:
    """The array that is fed, in the model's type. Raises UsageError if type or shape do not fit."""
    if not info.is_tensor:
        return given  # type: ignore[return-value]  # a list, or None for an empty optional
    array = np.asarray(given)
    if array.dtype != info.dtype:
        if not _converts(array, info.dtype):
            raise UsageError(f"input '{info.name}' is {array.dtype}, the model takes {info.dtype}")
        array = array.astype(info.dtype)
    shape = info.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(isinstance(d, int) and d != n for d, n in zip(shape, array.shape, strict=True))
    ):
        wanted = [d if d is not None else "?" for d in shape]
        raise UsageError(
            f"input '{info.name}' has shape {list(array.shape)}, the model takes {wanted}"
        )
    return np.ascontiguousarray(array).reshape(array.shape)


def _converts(array: Array, dtype: np.dtype[Any]) -> bool:
    """True for integers whose values dtype holds, and between real types, rounding allowed."""
    if array.dtype.kind in "iub":
        return dtype.kind in "iubf" and np.array_equal(array.astype(dtype), array)
    return (array.dtype.kind == "f" and dtype.kind in "fV") or dtype == np.dtype(object)


def _refuse_host_steps(program: Runnable) -> None:
    left = [info for info in program.infos() if info.dtype == "host"]
    if left:
        listed = ", ".join(f"{info.nodes[0]} ({info.reason})" for info in left[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise UnsupportedError(
            f"C does not run {len(left)} of the model's nodes: {listed}{more}",
            "without strict they run on the host",
        )
