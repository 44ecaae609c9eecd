"""Rewriting: a float model and the ranges of its values become an eight-bit model.

prepared float model --clone--> choose per operator -> conversions around each -> strip -> refit
-> clean

The float model stays as it is, so that quantize can write it again with other operators left out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from q8tool.calibrate.ranges import Ranges
from q8tool.errors import InputError, Q8Error, UsageError
from q8tool.model.change import Change
from q8tool.model.graph import node_label, nodes_named
from q8tool.passes.choose_precision import UNREAD, Choice, choose_precision
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.inline_functions import inline_functions
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.insert_dynamic import insert_dynamic
from q8tool.passes.keep_float32 import keep_float32
from q8tool.passes.lift_weights import lift_weights
from q8tool.passes.quantize_storage import quantize_storage
from q8tool.passes.quantize_weights import SMALLEST, quantize_weights, round_weights
from q8tool.passes.raise_opset import OPSET_FOR_EIGHT_BIT, raise_opset
from q8tool.passes.set_inference_mode import set_inference_mode
from q8tool.passes.simplify import simplify
from q8tool.passes.simulate_rounding import simulate_rounding
from q8tool.passes.strip import strip
from q8tool.passes.to_qoperator import to_qoperator
from q8tool.passes.widen_floats import widen_floats
from q8tool.pipelines.refitting import Refitting, find_twins

__all__ = ["MODES", "Form", "Format", "Mode", "Rewritten", "prepared", "rewritten"]

Mode = Literal["eightbit", "weights", "weights-rounded", "round", "simulate"]
MODES: tuple[Mode, ...] = ("eightbit", "weights", "weights-rounded", "round", "simulate")
Format = Literal["qdq", "qoperator"]


@dataclass(frozen=True)
class Form:
    """What the eight-bit model looks like; see quantize.Options."""

    mode: Mode = "eightbit"
    format: Format = "qdq"
    per_channel: bool = True
    strip: bool = True


@dataclass(frozen=True)
class Rewritten:
    """An eight-bit model, the choice of operators that it follows, and what was done."""

    model: ir.Model
    choice: Choice
    changes: list[Change]


def prepared(original: ir.Model, opset: int = OPSET_FOR_EIGHT_BIT) -> tuple[ir.Model, list[Change]]:
    """freeze's passes on a copy: what is left is what runs, in float32, in that opset or newer."""
    model = original.clone()
    changes = [*lift_weights(model), *inline_functions(model), *set_inference_mode(model)]
    changes += [*widen_floats(model), *simplify(model)]
    model, raised = raise_opset(model, opset)
    return model, [*changes, *raised]


def rewritten(
    float_model: ir.Model,
    form: Form,
    ranges: Ranges,
    excluded: Collection[str],
    refitting: Refitting | None = None,
) -> Rewritten:
    """The eight-bit form of a prepared model, which is not changed.

    excluded   names of nodes that stay float (model.graph.node_name)
    refitting  samples to fit weights and biases to the float results with; None: none
    Raises UsageError or InputError, saying why, if no operator would become eight-bit.
    """
    model = float_model.clone()
    choice = choose_precision(model, ranges, excluded)
    twins = find_twins(float_model, model, choice)
    changes = _in_mode(model, form, choice, ranges, nodes_named(model, excluded))
    if not changes:
        raise _nothing_quantized(choice, form, bool(excluded))
    if form.mode == "eightbit":
        if refitting is not None:
            changes += refitting.refit(float_model, model, twins)
        if form.format == "qoperator":
            changes += to_qoperator(model)
        changes += keep_float32(model)
    # Without strip every operator keeps conversions of its own; what nobody reads goes.
    return Rewritten(model, choice, [*changes, *clean_graph(model, merges=form.strip)])


def _in_mode(
    model: ir.Model, form: Form, choice: Choice, ranges: Ranges, excluded: frozenset[ir.Node]
) -> list[Change]:
    if form.mode == "weights":
        return quantize_weights(model, excluded, form.per_channel)
    if form.mode == "weights-rounded":
        return round_weights(model, excluded)
    if form.mode in ("round", "simulate"):
        rounds_weights = form.mode == "simulate"
        return simulate_rounding(model, choice, ranges, form.per_channel, rounds_weights)
    changes = insert_conversions(model, choice, ranges, form.per_channel)
    changes += insert_dynamic(model, choice, form.per_channel)
    changes += quantize_storage(model, excluded)
    if form.strip:
        changes += strip(model)
    return changes


def _nothing_quantized(choice: Choice, form: Form, excludes: bool) -> Q8Error:
    """Why no operator became eight-bit: what was excluded, what has no form, what is no float32."""
    if excludes:
        return UsageError("nothing to quantize: the excluded nodes are all that could be eight-bit")
    if form.mode in ("weights", "weights-rounded"):
        return InputError(
            f"nothing to quantize: no operator has float32 weights of {SMALLEST} numbers or more"
        )
    reasons: Sequence[tuple[ir.Node, str]] = [row for row in choice.kept if row[1] != UNREAD]
    if not reasons:
        return InputError("nothing to quantize: no operator has constant weights")
    node, why = reasons[0]
    return InputError(f"nothing to quantize: {node_label(node)} stays float, {why}")
