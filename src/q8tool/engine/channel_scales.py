"""Codes with a scale per channel, where a depthwise convolution reads them: one scale for all.

    y -> QuantizeLinear(s[c], z) -> DequantizeLinear(s[c], z) -> Conv(group = channels, w[c])
    y * (S / s[c]) -> QuantizeLinear(S, z) -> DequantizeLinear(S, z) -> Conv(group, w[c] * s[c] / S)

NNCF writes the first form. Both have the same codes, but eight-bit kernels take inputs of one scale
only. The factor in front goes into the weights and bias of the convolution that makes y, through
Relu and LeakyRelu, or else becomes a multiplication.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.graph import Graph, Node, with_axis

if TYPE_CHECKING:
    import onnx

__all__ = ["with_one_scale"]

Array = NDArray[Any]
Floats = NDArray[np.float64]

_PASSING = ("Relu", "LeakyRelu")
# The first version whose DequantizeLinear has scales per channel.
_LEAST_VERSION = 13


def with_one_scale(graph: Graph) -> Graph:
    """The graph with one scale wherever the kernels can take the others into their weights."""
    candidates = [node for node in graph.nodes if _has_channel_scales(graph, node)]
    if not candidates:
        return graph
    rewriting = _Rewriting(graph)
    for node in candidates:
        rewriting.rewrite(node.outputs[0])
    return rewriting.result()


def _has_channel_scales(graph: Graph, node: Node) -> bool:
    """Whether it makes floats of computed codes with a constant scale per channel."""
    if node.op_type != "DequantizeLinear" or node.domain or node.input(0) in graph.constants:
        return False
    scale = graph.constant_types.get(node.input(1))
    return scale is not None and len(scale[1]) == 1 and scale[1][0] > 1


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {node.outputs[0]: node for node in graph.nodes if node.outputs}
        self._readers: dict[str, list[str]] = {}
        for node in graph.nodes:
            for name in node.reads:
                self._readers.setdefault(name, []).append(node.outputs[0])
        self._wanted = {info.name for info in graph.outputs}
        self._fed = {info.name for info in graph.inputs}
        self._constants, self._types = dict(graph.constants), dict(graph.constant_types)
        self._before: dict[str, Node] = {}

    def rewrite(self, name: str) -> None:
        """One DequantizeLinear, if all that reads it are depthwise convolutions."""
        dequantize = self._makers[name]
        quantize = self._sole_maker(dequantize.input(0), "QuantizeLinear")
        scale, zero = self._array(dequantize.input(1)), self._array(dequantize.input(2))
        if quantize is None or scale is None or zero is None or name in self._wanted:
            return
        is_same = self._is_array(quantize.input(1), scale)
        is_same = is_same and self._is_array(quantize.input(2), zero)
        is_along = {node.attributes.get("axis", 1) for node in (quantize, dequantize)} == {1}
        is_centred = zero.shape == scale.shape and (zero == zero[0]).all() and (scale > 0).all()
        readers = [self._makers[reader] for reader in self._readers.get(name, ())]
        are_depthwise = [self._is_depthwise(reader, name, len(scale)) for reader in readers]
        if not (is_same and is_along and is_centred and readers and all(are_depthwise)):
            return
        one = float(scale.max())
        factors = scale.astype(np.float64) / one
        for reader in readers:
            self._scale_weights(reader, factors)
        parameters = (
            self._constant(f"{name} scale", np.float32(one)),
            self._constant(f"{name} zero point", zero[0]),
        )
        source = self._scaled(quantize, 1.0 / factors)
        self._replace(quantize, inputs=(source, *parameters))
        self._replace(dequantize, inputs=(dequantize.inputs[0], *parameters))

    def result(self) -> Graph:
        nodes: list[Node] = []
        for node in self._graph.nodes:
            before = self._before.get(node.outputs[0] if node.outputs else "")
            nodes += [] if before is None else [before]
            nodes.append(self._makers[node.outputs[0]] if node.outputs else node)
        return replace(
            self._graph, nodes=nodes, constants=self._constants, constant_types=self._types
        )

    # ---- inside ----

    def _scaled(self, quantize: Node, factors: Floats) -> str:
        """The name of what QuantizeLinear reads, times a factor per channel."""
        name = quantize.input(0)
        maker = self._sole_maker(name, *_PASSING)
        product = self._sole_maker(name if maker is None else maker.input(0), "Conv")
        if product is not None and self._takes_factors(product, len(factors)):
            self._scale_weights(product, factors)
            if product.input(2):
                bias = self._array(product.input(2))
                assert bias is not None
                scaled = self._constant(f"{product.outputs[0]} bias", np.float32(bias * factors))
                self._replace(
                    self._makers[product.outputs[0]], inputs=(*product.inputs[:2], scaled)
                )
            return name
        shape = (len(factors), *[1] * (self._rank(quantize) - 2))
        factor = self._constant(f"{name} factor", np.float32(factors).reshape(shape))
        result = f"{name} of one scale"
        self._before[quantize.outputs[0]] = Node(
            name=result, op_type="Mul", domain="", version=quantize.version,
            inputs=(name, factor), outputs=(result,), attributes={}, captured=(),
            make_proto=_mul_proto,
        )  # fmt: skip
        return result

    def _rank(self, quantize: Node) -> int:
        """Of what a convolution reads: that of its weights."""
        (dequantized,) = self._readers[quantize.outputs[0]]
        reader = self._makers[self._readers[dequantized][0]]
        codes = self._makers[reader.input(1)].input(0)
        return len(self._types[codes][1])

    def _is_depthwise(self, node: Node, name: str, channels: int) -> bool:
        is_reader = node.op_type == "Conv" and not node.domain and node.inputs.count(name) == 1
        return (
            is_reader
            and node.input(0) == name
            and node.attributes.get("group", 1) == channels
            and self._weights(node) is not None
        )

    def _takes_factors(self, product: Node, channels: int) -> bool:
        weights = self._weights(product)
        if weights is None or self._types[weights.input(0)][1][0] != channels:
            return False
        bias = self._array(product.input(2)) if product.input(2) else None
        return not product.input(2) or (bias is not None and bias.dtype == np.float32)

    def _weights(self, product: Node) -> Node | None:
        """The DequantizeLinear of its constant weights that nobody else reads."""
        node = self._sole_maker(product.input(1), "DequantizeLinear")
        if node is None or node.version < _LEAST_VERSION or node.input(0) not in self._constants:
            return None
        scale, zero = self._array(node.input(1)), self._array(node.input(2))
        if scale is None or scale.ndim > 1 or (node.input(2) and zero is None):
            return None
        is_per_output = scale.size == 1 or node.attributes.get("axis", 1) == 0
        return node if is_per_output and not node.attributes.get("block_size", 0) else None

    def _scale_weights(self, product: Node, factors: Floats) -> None:
        """Weights of the product, one factor per group of its results."""
        node = self._makers[product.input(1)]
        outputs = self._types[node.input(0)][1][0]
        scale, zero = self._array(node.input(1)), self._array(node.input(2))
        assert scale is not None
        spread = np.repeat(factors, outputs // len(factors))
        wide = np.float32(np.broadcast_to(scale.astype(np.float64), (outputs,)) * spread)
        names = [node.inputs[0], self._constant(f"{node.outputs[0]} scale", wide)]
        if zero is not None:
            zeros = np.broadcast_to(zero, (outputs,))
            names.append(self._constant(f"{node.outputs[0]} zero point", zeros))
        self._replace(
            node, inputs=tuple(names), attributes={**node.attributes, "axis": 0},
            make_proto=partial(with_axis, node.make_proto, 0),
        )  # fmt: skip

    def _sole_maker(self, name: str, *op_types: str) -> Node | None:
        """What computes the value, if that is one of the operators and one node alone reads it."""
        node = self._makers.get(name)
        is_alone = len(self._readers.get(name, ())) == 1 and name not in self._wanted
        if node is None or node.op_type not in op_types or node.domain or not is_alone:
            return None
        return node

    def _array(self, name: str) -> Array | None:
        read = None if name in self._fed else self._constants.get(name)
        return None if read is None else read()

    def _is_array(self, name: str, wanted: Array) -> bool:
        found = self._array(name)
        return found is not None and np.array_equal(found, wanted)

    def _constant(self, base: str, array: Any) -> str:
        """A new constant's name."""
        value = np.asarray(array)
        name = base
        while name in self._constants or name in self._makers or name in self._fed:
            name += "'"
        self._constants[name] = lambda: value
        self._types[name] = (value.dtype, value.shape)
        return name

    def _replace(self, node: Node, **changes: Any) -> None:
        self._makers[node.outputs[0]] = replace(node, **changes)


def _mul_proto() -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node("Mul", ["", ""], [""])
