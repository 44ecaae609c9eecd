"""Restore checkpoint: values by name into the weights of the model.

inputs: x, w              ->        inputs: x
y = Conv(x, w)                      initializers: w = checkpoint["w"]
                                    y = Conv(x, w)
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import InputError, UsageError
from q8tool.model.change import Change

__all__ = ["Restored", "restore_checkpoint"]


@dataclass
class Restored:
    """What restore_checkpoint did.

    changes             one per weight that got a value
    not_in_checkpoint   float weights that the checkpoint does not name, in the model's order
    not_in_model        names of the checkpoint that no weight bears, in the order of the file
    """

    changes: list[Change] = field(default_factory=list)
    not_in_checkpoint: list[str] = field(default_factory=list)
    not_in_model: list[str] = field(default_factory=list)


def restore_checkpoint(
    model: ir.Model,
    values: Mapping[str, npt.NDArray[Any]],
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Restored:
    """Fill weights from a checkpoint: initializers, and graph inputs that it names.

    values   arrays by name, read one at a time
    only     patterns (conv*, *.bias) of the weights to fill; empty: all
    keep     patterns of the weights to leave alone
    A float of another width is converted to the weight's type. Raises InputError for another
    shape or kind of number, UsageError for a pattern that matches no weight, with the nearest.
    """
    weights = _weights(model, values)
    for pattern in (*only, *keep):
        _check_pattern(pattern, weights)
    done = Restored(not_in_model=[name for name in values if name not in weights])
    for name, value in weights.items():
        if (only and not _matches(name, only)) or _matches(name, keep):
            continue
        if name not in values:
            if value.dtype is None or value.dtype.is_floating_point():
                done.not_in_checkpoint.append(name)
            continue
        what = _fill(model.graph, value, values[name])
        done.changes.append(Change("restore_checkpoint", name, what))
    return done


def _weights(model: ir.Model, values: Mapping[str, object]) -> dict[str, ir.Value]:
    found = dict(model.graph.initializers)
    for value in model.graph.inputs:
        if value.name is not None and value.name in values:
            found[value.name] = value
    return found


def _fill(graph: ir.Graph, value: ir.Value, array: npt.NDArray[Any]) -> str:
    name = value.name or ""
    if not _fits(value.shape, array.shape):
        raise InputError(
            f"weight '{name}': the checkpoint has shape {list(array.shape)}, "
            f"the model {list(value.shape or ())}"
        )
    wanted = value.dtype or ir.DataType.from_numpy(array.dtype)
    found = ir.DataType.from_numpy(array.dtype)
    if found != wanted and not (found.is_floating_point() and wanted.is_floating_point()):
        raise InputError(f"weight '{name}': the checkpoint has {found}, the model {wanted}")
    converted = np.ascontiguousarray(array).astype(wanted.numpy()).reshape(array.shape)
    if value.is_initializer():
        graph.initializers.pop(name)
    if value.is_graph_input():
        graph.inputs.remove(value)
    value.const_value = ir.Tensor(converted, name=name)
    value.shape, value.type = ir.Shape(array.shape), ir.TensorType(wanted)
    graph.register_initializer(value)
    return "value restored" if found == wanted else f"value restored, converted from {found}"


def _fits(declared: ir.Shape | None, shape: tuple[int, ...]) -> bool:
    if declared is None:
        return True
    return len(declared) == len(shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(declared, shape, strict=True)
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_pattern(pattern: str, names: Iterable[str]) -> None:
    known = list(names)
    if any(fnmatchcase(name, pattern) for name in known):
        return
    near = difflib.get_close_matches(pattern, known, n=1, cutoff=0.4)
    raise UsageError(
        f"the pattern '{pattern}' matches no weight", f"did you mean {near[0]}?" if near else ""
    )
