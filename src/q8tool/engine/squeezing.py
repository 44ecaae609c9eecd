"""Squeeze and excitation of floats: one pass over a picture instead of four.

    conv_f32 (joins) -> x             conv_f32 (joins) -> x, find_channels -> least, greatest, sums
    pool(x) -> ... -> gate      ->    sums / pixels -> ... -> gate
    x * gate, find_range              gate * least, find_range; gate * greatest, find_range
    dynamic_quantize                  dynamic_quantize of x * gate

What is found of each channel while it is made gives its mean, and, since products grow with a
factor, the range of the gated picture before anybody has made it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from q8tool.engine.lowering import constant_tensor
from q8tool.engine.tensors import NativeStep, Step, Storage, Tensor, new_tensor

__all__ = ["squeezed"]


def squeezed(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps with what is read of pictures found by the depthwise convolutions that write them.

    wanted  tensors that the caller sees: they stay
    """
    uses = _Uses(steps, wanted)
    changed: dict[Step, list[Step]] = {}
    for place, step in enumerate(steps):
        if isinstance(step, NativeStep) and step.reads.get("joins") is not None:
            _squeeze(uses, step, _last_of(steps, place), changed)
    return [new for step in steps for new in changed.get(step, [step])]


class _Uses:
    """Steps that read each storage; none of a tensor that the caller sees."""

    def __init__(self, steps: Sequence[Step], wanted: Iterable[Tensor]) -> None:
        self._readers: dict[Storage, list[Step]] = {}
        for step in steps:
            for storage in {tensor.storage for tensor in step.inputs}:
                self._readers.setdefault(storage, []).append(step)
        self._wanted = {tensor.storage for tensor in wanted}

    def of(self, tensor: Tensor) -> list[NativeStep]:
        """The steps that read a tensor; an empty list if somebody else may."""
        readers = self._readers.get(tensor.storage, [])
        native = [step for step in readers if isinstance(step, NativeStep)]
        is_seen = tensor.storage in self._wanted or len(native) < len(readers)
        return [] if is_seen else native


def _last_of(steps: Sequence[Step], place: int) -> Step:
    """The last of the calls that say what the step at `place` also does."""
    while place + 1 < len(steps) and _method(steps[place + 1]) in ("then_unary", "find_range"):
        place += 1
    return steps[place]


def _method(step: Step) -> str:
    return step.method if isinstance(step, NativeStep) else ""


def _squeeze(uses: _Uses, maker: NativeStep, last: Step, changed: dict[Step, list[Step]]) -> None:
    """Notes what becomes of the steps that read the picture."""
    y = maker.writes["y"]
    n, height, width, c = y.shape
    least, greatest, sums = found = [new_tensor(np.float32, (n, c)) for _ in range(3)]
    mine: dict[Step, list[Step]] = {}
    for reader in uses.of(y):
        if _is_mean(reader, y):
            mine[reader] = [_mean(reader, sums, height * width)]
        elif _is_gate(reader, y):
            mine |= _gated(uses, reader, y, (least, greatest))
    if mine:
        names = dict(zip(("least", "greatest", "sums"), found, strict=True))
        changed |= mine
        reads = {"y": y, "joins": maker.reads["joins"]}
        find = NativeStep("find_channels", reads, names, {}, maker.nodes)
        changed[last] = [*changed.get(last, [last]), find]


def _is_mean(step: NativeStep, x: Tensor) -> bool:
    """True for an average over whole pictures."""
    if step.method != "pool" or step.arguments["kind"] != "average":
        return False
    arguments, read = step.arguments, step.inputs[0]
    return (
        read.shape == x.shape
        and tuple(arguments["kernel"]) == x.shape[1:3]
        and not any(arguments.get("pads", (0,)))
        and step.writes["y"].shape == (x.shape[0], 1, 1, x.shape[3])
    )


def _mean(pool: NativeStep, sums: Tensor, pixels: int) -> NativeStep:
    share = constant_tensor(np.asarray([1 / pixels], np.float32))
    y = pool.writes["y"]
    reads: dict[str, Tensor | None] = {"a": sums.view(y.shape), "b": share}
    return NativeStep("binary_f32", reads, {"y": y}, {"op": "mul"}, pool.nodes, pool.reason)


def _is_gate(step: NativeStep, x: Tensor) -> bool:
    """True for a product of pictures with one number for each of their channels."""
    return (
        step.method == "binary_f32"
        and step.arguments["op"] == "mul"
        and {tensor.shape for tensor in step.inputs} == {x.shape, (x.shape[0], 1, 1, x.shape[3])}
        and step.writes["y"].shape == x.shape
        and x.shape[1] * x.shape[2] > 1
    )


def _gated(
    uses: _Uses, product: NativeStep, x: Tensor, ends: Sequence[Tensor]
) -> dict[Step, list[Step]]:
    """What becomes of a product, of its range and of its codes; nothing if others read it."""
    readers = uses.of(product.writes["y"])
    ranges = [step for step in readers if step.method == "find_range"]
    codes = [step for step in readers if step.method == "dynamic_quantize"]
    if len(ranges) != 1 or len(codes) != 1 or len(readers) != 2:
        return {}
    gate = next(tensor for tensor in product.inputs if tensor.storage is not x.storage)
    if codes[0].reads.get("x_range") is None:
        return {}
    replacing: list[Step] = []
    for end in ends:
        reads: dict[str, Tensor | None] = {"a": gate, "b": end.view(gate.shape)}
        y = new_tensor(np.float32, gate.shape)
        replacing.append(replace(product, reads=reads, writes={"y": y}))
        replacing.append(replace(ranges[0], reads={"y": y}))
    quantize = replace(
        codes[0],
        reads={**codes[0].reads, "x": x, "factor": gate},
        writes={**codes[0].writes, "y": codes[0].writes["y"].view(x.shape)},
        nodes=tuple(dict.fromkeys((*product.nodes, *codes[0].nodes))),
    )
    return {product: replacing, ranges[0]: [], codes[0]: [quantize]}
