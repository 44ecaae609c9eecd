"""Keep float32: a convolution's float result that becomes the model's answer, as float32 anywhere.

    DequantizeLinear -> Conv -> Flatten -> Softmax -> output
    DequantizeLinear -> Conv -> Clip(all of float32) -> Flatten -> Softmax -> output

Where the CPU has bfloat16, OpenVINO rounds what a convolution delivers to its 8 bits, unless an
elementwise operator ends the same step on the way to an output: of 0.03 logits' distance nothing is
left, and in every hundredth photo the best class is another one. The Clip changes no number, and
no runtime needs time for it: it is computed with the convolution.
"""

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import node_label
from q8tool.passes.conversions import ConversionWriter, give_output_name

__all__ = ["keep_float32"]

_ENDS = np.finfo(np.float32)
# What OpenVINO computes in bfloat16 whatever follows, or itself ends the step.
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Resize"})
_CLAMPS = frozenset({"Clip", "Relu"})


def keep_float32(model: ir.Model) -> list[Change]:
    """Puts a Clip behind the eight-bit convolutions from which no other product is computed."""
    writer = ConversionWriter(model.graph)
    changes = []
    for node in list(model.graph):
        if node.op_type == "Conv" and _reads_codes(node) and _is_last(node):
            _clip(writer, node)
            changes.append(Change("keep_float32", node_label(node), "float32 in every runtime"))
    return changes


def _reads_codes(node: ir.Node) -> bool:
    x = node.inputs[0]
    producer = None if x is None else x.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _is_last(node: ir.Node) -> bool:
    """Whether the result reaches outputs only, through no product and no conversion."""
    readers = [usage.node for usage in node.outputs[0].uses()]
    if len(readers) == 1 and readers[0].op_type in _CLAMPS:
        return False
    seen: set[ir.Node] = set()
    while readers:
        reader = readers.pop()
        if reader in seen:
            continue
        if reader.op_type in _PRODUCTS or "Quantize" in reader.op_type:
            return False
        seen.add(reader)
        readers += [usage.node for value in reader.outputs for usage in value.uses()]
    return True


def _clip(writer: ConversionWriter, node: ir.Node) -> None:
    result = node.outputs[0]
    ends = [writer.initializer(f"float32_{name}", np.asarray(getattr(_ENDS, name), np.float32))
            for name in ("min", "max")]  # fmt: skip
    readers = list(result.uses())
    clip = writer.new("Clip", [result, *ends], f"{result.name}_float32", shape=result.shape)
    writer.graph.insert_after(node, clip)
    for usage in readers:
        usage.node.replace_input_with(usage.idx, clip.outputs[0])
    if result.is_graph_output():
        give_output_name(writer, result, clip.outputs[0])
