"""Which steps a session makes of a graph."""

import onnx_ir as ir

from q8tool import Session
from tests.graphs import Array


def kernels(graph: ir.Model, feeds: dict[str, Array]) -> list[str]:
    """The first word of every step's kernel, in the order they run."""
    session = Session(graph, threads=1)
    session.run(feeds)
    return [info.kernel.split(" ")[0] for info in session.explain()]
