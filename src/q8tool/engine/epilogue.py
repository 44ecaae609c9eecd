"""What follows an operator and can be done by the operator's own step: clamps, then codes.

Conv -> Relu | Clip -> QuantizeLinear     codes with a clamp
Conv -> Relu | Clip                       float32 with a clamp
"""

import math
from dataclasses import dataclass

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, scalar
from q8tool.engine.tensors import Layout, Tensor, new_tensor, physical_shape
from q8tool.engine.values import CodeParams, Value

__all__ = [
    "Epilogue",
    "clamp_bounds",
    "find_epilogue",
    "find_residual",
    "shared_codes",
    "wanted_codes",
]


@dataclass(eq=False)
class Epilogue:
    """The nodes that an operator's step takes over.

    value      the float value after the clamps
    low, high  the clamp, infinite where there is none
    params     of the codes that everybody wants instead of `value`; None: float32 is wanted
    """

    lowering: Lowering
    nodes: list[Node]
    value: Value
    low: float
    high: float
    params: CodeParams | None

    def code_bounds(self) -> tuple[int, int]:
        """The clamp in stored codes; 0..255 without one. Only with params."""
        assert self.params is not None
        if self.low == -math.inf and self.high == math.inf:
            return 0, 255
        bounds = self.params.codes(np.asarray([self.low, self.high], np.float32))
        return int(bounds[0]), int(bounds[1])

    def result(self, layout: Layout) -> Tensor:
        """Takes the nodes over and returns the tensor that the step writes."""
        lowering = self.lowering
        lowering.absorb(self.nodes)
        if self.params is None:
            return lowering.new_form(self.value, layout)
        if self.value.rank < 3 and layout is Layout.CHANNELS_LAST:
            layout = Layout.PLAIN
        forms = {layout: new_tensor(np.uint8, physical_shape(self.value.shape, layout))}
        for node in self.nodes:
            if node.op_type == "QuantizeLinear":
                # Equal QuantizeLinear nodes share one set of forms.
                lowering.output(node).forms = forms
        return forms[layout]


def find_epilogue(
    lowering: Lowering, name: str, *, clamps: bool = True, codes: bool = True
) -> Epilogue:
    """The longest epilogue of a value; with no node at all if nothing can be taken over.

    clamps, codes  False: leave Relu and Clip, or QuantizeLinear, alone
    """
    low, high = -np.inf, np.inf
    nodes: list[Node] = []
    while clamps:
        node = lowering.sole_consumer(name)
        bounds = None if node is None else clamp_bounds(lowering, node)
        if node is None or bounds is None or node.input(0) != name:
            break
        nodes.append(node)
        low = min(max(low, bounds[0]), bounds[1])
        high = min(max(high, bounds[0]), bounds[1])
        name = node.outputs[0]
    params = wanted_codes(lowering, name) if codes else None
    if params is not None:
        nodes.extend(lowering.consumers(name))
    return Epilogue(lowering, nodes, lowering.value(name), float(low), float(high), params)


def find_residual(lowering: Lowering, epilogue: Epilogue) -> tuple[Value, Epilogue] | None:
    """What an Add joins to a float result that nothing else reads, and the epilogue behind the Add.

    None if no Add follows at once, or if its other side has another shape or does not exist yet.
    """
    name = epilogue.value.name
    node = lowering.sole_consumer(name)
    if epilogue.nodes or node is None or node.op_type != "Add" or node.domain:
        return None
    other = lowering.value(node.inputs[1] if node.inputs[0] == name else node.inputs[0])
    if other is epilogue.value or other.shape != epilogue.value.shape or not other.is_float:
        return None
    if other.is_constant or not other.forms:
        return None
    behind = find_epilogue(lowering, node.outputs[0], codes=False)
    behind.nodes.insert(0, node)
    return other, behind


def shared_codes(lowering: Lowering, name: str) -> tuple[list[Node], CodeParams | None]:
    """QuantizeLinear nodes of one scale and zero point among the readers of a float value.

    Others may read it as well, as floats or as other codes. No nodes and None if there are none.
    """
    nodes: list[Node] = []
    shared: CodeParams | None = None
    for node in lowering.consumers(name):
        if node.op_type != "QuantizeLinear" or node.domain or node.input(0) != name:
            continue
        params = lowering.code_params(node)
        if params is None or (shared is not None and not shared.same_meaning(params)):
            continue
        shared = params
        nodes.append(node)
    return nodes, shared


def wanted_codes(lowering: Lowering, name: str) -> CodeParams | None:
    """The codes that every reader of a float value turns it into, None if they differ."""
    consumers = lowering.consumers(name)
    if not consumers or name in lowering.kept or not lowering.value(name).is_float:
        return None
    wanted: CodeParams | None = None
    for node in consumers:
        if node.op_type != "QuantizeLinear" or node.domain or node.input(0) != name:
            return None
        params = lowering.code_params(node)
        if params is None or (wanted is not None and not wanted.same_meaning(params)):
            return None
        wanted = params
    return wanted


def clamp_bounds(lowering: Lowering, node: Node) -> tuple[float, float] | None:
    """Bounds of a Relu or of a Clip with constant bounds on float32; None for other nodes."""
    if node.domain or not lowering.output(node).is_float:
        return None
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    ends = []
    for position, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = lowering.optional(node, position)
        end = node.attributes.get(name, default) if value is None else scalar(value)
        if end is None or np.isnan(end):
            return None
        ends.append(float(end))
    # ONNX Clip is min(max(x, low), high): with low over high everything becomes high.
    return min(ends), ends[1]
