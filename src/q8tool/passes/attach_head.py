"""Attach head: the nodes of a trained head behind a model's features; probabilities come out.

features -> [Clip(0) -> Sqrt] -> Gemm(projection) -> p
p ------------------> Gemm(landmarks, |z|^2) -> Add -> Exp -> Gemm -> Softmax
p -> Mul(p) -> MatMul(-narrowness) --------------^

The squared distance |p - z|^2 is |z|^2 - 2 pz + |p|^2: one matrix product for all landmarks.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import Names, make_initializer
from q8tool.model.head import Head, Hidden

__all__ = ["attach_head"]


def attach_head(
    model: ir.Model, head: Head, output: str, labels: int, *, is_eight_bit: bool
) -> None:
    """Replace the only output, features (N, D), by probabilities (N, labels) called `output`.

    is_eight_bit   whether landmarks are stored as int8 behind a DequantizeLinear or as float32; the
                   values are the same
    In place. Another value of that name is renamed.
    """
    graph = model.graph
    builder = _Builder(graph, output)
    features = graph.outputs[0]
    graph.outputs.clear()
    x = builder.root(features) if head.is_root else features
    if head.hidden is not None:
        x = builder.nearness(x, head.hidden, is_eight_bit)
    x = builder.node(
        "Gemm", "head/logits",
        [x, builder.constant("head/weights", head.weights),
         builder.constant("head/bias", head.bias)],
    )  # fmt: skip
    x = builder.node("Softmax", output, [x], axis=1)
    x.shape = ir.Shape([features.shape[0] if features.shape else "N", labels])
    x.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(x)


class _Builder:
    """Appends nodes to a graph under names that are free."""

    def __init__(self, graph: ir.Graph, output: str) -> None:
        self.graph = graph
        for value in [*graph.inputs, *(v for node in graph for v in node.outputs)]:
            if value.name == output:
                value.name = f"{output}_before"
        self.names = Names(graph)

    def root(self, x: ir.Value) -> ir.Value:
        """Square roots; rounding may have left features a little below zero."""
        zero = self.constant("head/zero", np.float32(0))
        return self.node("Sqrt", "head/root", [self.node("Clip", "head/positive", [x, zero])])

    def nearness(self, x: ir.Value, hidden: Hidden, is_eight_bit: bool) -> ir.Value:
        """exp(-narrowness * |p - z|^2) for each landmark z."""
        landmarks = hidden.landmarks.astype(np.float64)
        projection = self.constant("head/projection", hidden.projection)
        offset = self.constant("head/offset", hidden.offset)
        p = self.node("Gemm", "head/projected", [x, projection, offset])
        minus = np.full((len(landmarks), 1), -hidden.narrowness, np.float32)
        squares = self.node("Mul", "head/squares", [p, p])
        length = self.node("MatMul", "head/length", [squares, self.constant("head/minus", minus)])
        lengths = np.float32(-hidden.narrowness * (landmarks**2).sum(0))
        near = self.node(
            "Gemm", "head/near",
            [p, self._landmarks(hidden, is_eight_bit), self.constant("head/lengths", lengths)],
            alpha=2.0 * hidden.narrowness,
        )  # fmt: skip
        distance = self.node("Add", "head/distance", [near, length])
        return self.node("Exp", "head/nearness", [distance])

    def _landmarks(self, hidden: Hidden, is_eight_bit: bool) -> ir.Value:
        if not is_eight_bit:
            return self.constant("head/landmarks", hidden.landmarks)
        codes = self.constant("head/codes", hidden.codes)
        steps = self.constant("head/steps", hidden.steps)
        zeros = self.constant("head/zeros", np.zeros(len(hidden.steps), np.int8))
        return self.node("DequantizeLinear", "head/landmarks", [codes, steps, zeros], axis=1)

    def constant(self, name: str, array: NDArray[Any] | np.float32) -> ir.Value:
        """A new initializer."""
        return make_initializer(self.graph, self.names.new(name), array)

    def node(
        self, op: str, name: str, inputs: list[ir.Value], **attributes: int | float
    ) -> ir.Value:
        """Append a node; its output, float32, is called like it."""
        name = self.names.new(name)
        node = ir.node(op, inputs, attributes or None, name=name)
        value = node.outputs[0]
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
        self.graph.append(node)
        return value
