"""Layers: what became of every operator, as `quantize --report` writes it.

float model, eight-bit model --profile--> milliseconds of each operator
ranges, damage, choice, weights        --> range, noise, rank, bytes, why it stayed float
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.ranges import Ranges
from q8tool.engine.session import Session
from q8tool.model.graph import node_name
from q8tool.passes.choose_precision import Choice
from q8tool.pipelines.damage import Damage

__all__ = ["Layer", "describe_layers"]

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """One operator of the prepared float model.

    form     "eight-bit", "run-time range" (eight-bit, its range taken at run time) or "float"
    reason   why it is float; "" if it never was a candidate, or is not
    input_range, output_range  real units; None where they are not known before run time
    sqnr_db  of its result when it alone is eight-bit; None: not measured, or nothing is lost
    rank     1 for the operator that does the most damage; None: not measured
    bytes    of its weights in the float and in the eight-bit model
    milliseconds  in the float and in the eight-bit model; 0 where another operator's step does it
    """

    name: str
    op: str
    form: str
    reason: str
    input_range: tuple[float, float] | None
    output_range: tuple[float, float] | None
    sqnr_db: float | None
    rank: int | None
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        both = ("float", "eight_bit")
        return {
            **{key: getattr(self, key) for key in ("name", "op", "form", "reason")},
            "input_range": self.input_range and list(self.input_range),
            "output_range": self.output_range and list(self.output_range),
            "sqnr_db": self.sqnr_db,
            "damage_rank": self.rank,
            "bytes": dict(zip(both, self.bytes, strict=True)),
            "milliseconds": dict(zip(both, self.milliseconds, strict=True)),
        }


def describe_layers(
    float_model: ir.Model,
    model: ir.Model,
    choice: Choice,
    ranges: Ranges,
    damage: Damage | None,
    feeds: Feeds,
    threads: int | None,
) -> list[Layer]:
    """Every operator of the float model, in graph order.

    choice  that the eight-bit model follows;  damage  None: no samples to measure it with
    feeds   a sample to profile both models with
    """
    forms, outputs = _forms(choice), {node_name(u.node): u.output.name or "" for u in choice.units}
    reasons = {node_name(node): reason for node, reason in choice.kept}
    ranks = {name: rank for rank, name in enumerate(damage.ranked if damage else [], 1)}
    times = [_times(one, feeds, threads) for one in (float_model, model)]
    after = {node_name(node): _weight_bytes(node) for node in model.graph}
    layers = []
    for node in float_model.graph:
        name = node_name(node)
        first = node.inputs[0].name if node.inputs and node.inputs[0] is not None else None
        result = outputs.get(name) or (node.outputs[0].name or "")
        layers.append(
            Layer(
                name=name,
                op=node.op_type,
                form=forms.get(name, "float"),
                reason="" if name in forms else reasons.get(name, ""),
                input_range=ranges.get(first or ""),
                output_range=ranges.get(result),
                sqnr_db=damage.sqnr_db(name) if damage else None,
                rank=ranks.get(name),
                bytes=(_weight_bytes(node), after.get(name, 0)),
                milliseconds=(times[0].get(name, 0.0), times[1].get(name, 0.0)),
            )
        )
    return layers


def _forms(choice: Choice) -> dict[str, str]:
    names = {"static": "eight-bit", "dynamic": "run-time range"}
    return {node_name(unit.node): names[unit.form] for unit in choice.units}


def _times(model: ir.Model, feeds: Feeds, threads: int | None) -> dict[str, float]:
    """Milliseconds by node; a step that does the work of several counts for the first weighty."""
    operators = {node_name(node): node.op_type for node in model.graph}
    found: dict[str, float] = {}
    for step in Session(model, threads=threads).profile(feeds):
        owners = [name for name in step.nodes if not _is_conversion(operators.get(name, ""))]
        owner = next(iter(owners or step.nodes), "")
        found[owner] = found.get(owner, 0.0) + step.nanoseconds / 1e6
    return found


def _is_conversion(op_type: str) -> bool:
    return op_type in ("QuantizeLinear", "DequantizeLinear")


def _weight_bytes(node: ir.Node) -> int:
    """Of the constants that the node reads, also behind a DequantizeLinear."""
    total = 0
    for value in node.inputs:
        producer = None if value is None else value.producer()
        sources: Sequence[ir.Value | None] = [value]
        if producer is not None and producer.op_type == "DequantizeLinear":
            # Scales of activations are no weights.
            codes = producer.inputs[0]
            sources = producer.inputs if codes is not None and codes.const_value else ()
        tensors = [source.const_value for source in sources if source is not None]
        total += int(np.sum([t.nbytes for t in tensors if t is not None], dtype=np.int64))
    return total
