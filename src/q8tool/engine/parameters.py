"""Inputs that a plan needs the values of, not only the shapes: sizes, axes, bounds, weights, and
conditions.

A model may leave to its caller what exporters write into the file: the shape of a Reshape, the
bounds of a Clip, the weights of a Conv. C takes them when a plan is built, so a session builds a
plan for their values (session.py), as it does for shapes.
"""

from q8tool.engine.graph import Graph

__all__ = ["parameter_inputs"]

_POSITIONS = {
    "Clip": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (1, 2, 3),
    "Gemm": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "Pad": (1, 2, 3),
    "RNN": (1, 2, 3),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "ReverseSequence": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    # Scales, zero points and integer weights.
    "BatchNormalization": (1, 2, 3, 4),
    "ConvInteger": (1, 2, 3),
    "DequantizeLinear": (1, 2),
    "MatMulInteger": (1, 2, 3),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
}


# A condition that takes more operators than this is no question about an input.
_LONGEST_CONDITION = 16


def parameter_inputs(graph: Graph) -> frozenset[str]:
    """Names of the graph's inputs that a node reads as such a parameter, or an If decides by."""
    names = {info.name for info in graph.inputs if info.is_tensor}
    read = {
        node.input(position)
        for node in graph.nodes
        if not node.domain
        for position in _POSITIONS.get(node.op_type, ())
    }
    return frozenset(names & read) | _decisive(graph)


def _decisive(graph: Graph) -> frozenset[str]:
    """Inputs of one number from which alone the condition of an If follows."""
    conditions = [node.input(0) for node in graph.nodes if node.op_type == "If" and not node.domain]
    if not conditions:
        return frozenset()
    single = {
        info.name for info in graph.inputs if info.is_tensor and info.shape in ((), (1,))
    } - graph.optional
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    found: set[str] = set()
    for condition in conditions:
        sources, pending, steps = set(), [condition], 0
        while pending and steps <= _LONGEST_CONDITION:
            name = pending.pop()
            maker = makers.get(name)
            if maker is None:
                sources |= set() if name in graph.constants else {name}
            elif maker.op_type not in ("Shape", "Size"):
                steps += 1
                pending += maker.reads
        if not pending and sources <= single:
            found |= sources
    return frozenset(found)
