"""Walk: a model run piece by piece on a few samples, so that weights can change on the way.

    advance("a")  the nodes that lead to a run, on every sample; a is kept
    ...           the caller changes the weights of what reads a
    advance("b")  continues from a
    look([("a", cut), ("b", cut)])  the same in one piece; of a and b only what cut makes is kept

Only values that nodes still to come will read are kept. DequantizeLinear runs again in every piece
that reads it, so that codes are kept and not floats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.model.graph import constant, nodes_inside, values_read

__all__ = ["Look", "Walk"]

Array = NDArray[Any]
Look = Callable[[Array, int], Array]
"""Takes a value and the number of its sample."""


class Walk:
    """One model and its present values on some samples.

    model    may change its constants, and get nodes that convert new ones, between two calls
    samples  one set of inputs each
    """

    def __init__(
        self, model: ir.Model, samples: Sequence[Mapping[str, Array]], threads: int | None
    ) -> None:
        self._model = model
        self._graph = model.graph
        self._threads = threads
        self._count = len(samples)
        self._present: dict[ir.Value, list[Array]] = {
            value: [sample[value.name or ""] for sample in samples]
            for value in self._graph.inputs
            if value.name in samples[0]
        }
        self._done: set[ir.Node] = set()
        self._order = {node: index for index, node in enumerate(self._graph)}
        # Of every node in a body the node of the main graph that has the body.
        self._owner = {inner: node for node in self._graph for inner in nodes_inside(node)}

    def advance(self, *wanted: ir.Value) -> list[list[Array]]:
        """Each wanted value on every sample."""
        missing = [value for value in wanted if value not in self._present]
        if missing:
            self._run(missing, None)
        found = [self._present[value] for value in wanted]
        self._drop()
        return found

    def look(self, wanted: Sequence[tuple[ir.Value, Look]]) -> list[list[Array]]:
        """What each look makes of its value on every sample."""
        found: list[dict[int, Array]] = [{} for _ in wanted]
        missing = [value for value, _ in wanted if value not in self._present]

        def see(index: int, outputs: Mapping[str, Array]) -> None:
            for (value, look), parts in zip(wanted, found, strict=True):
                if value in missing:
                    parts[index] = look(outputs[value.name or ""], index)

        for (value, look), parts in zip(wanted, found, strict=True):
            if value not in missing:
                parts.update((i, look(array, i)) for i, array in enumerate(self._present[value]))
        if missing:
            self._run(list(dict.fromkeys(missing)), see)
        self._drop()
        return [[parts[index] for index in range(self._count)] for parts in found]

    def held(self) -> set[str]:
        """Names of the values that are in memory."""
        return {value.name or "" for value in self._present}

    def _run(
        self, wanted: list[ir.Value], see: Callable[[int, Mapping[str, Array]], None] | None
    ) -> None:
        """Runs what leads to the wanted values; keeps what nodes to come will read.

        see  is shown the number of each sample and its wanted values; None: they are kept
        """
        nodes = self._nodes_before(wanted)
        read = dict.fromkeys(value for node in nodes for value in self._read(node))
        sources = [value for value in read if value in self._present]
        final = [node for node in nodes if not _is_repeated(node)]
        self._done.update(final)
        made = (value for node in final for value in node.outputs)
        kept = [value for value in made if self._is_awaited(value)]
        kept = list(dict.fromkeys([*([] if see else wanted), *kept]))
        results = list(dict.fromkeys([*wanted, *kept]))
        session = self._session(nodes, sources, results)
        names = [value.name or "" for value in results]

        def fed() -> Iterator[tuple[int, dict[str, Array]]]:
            for index in range(self._count):
                yield index, {value.name or "": self._present[value][index] for value in sources}

        def seen(index: int, outputs: Mapping[str, Array]) -> list[Array]:
            if see is not None:
                see(index, outputs)
            return [outputs[value.name or ""] for value in kept]

        gathered = list(run_each(session, fed(), seen, names))
        columns = [list(arrays) for arrays in zip(*gathered, strict=True)] or [[] for _ in kept]
        self._present.update(zip(kept, columns, strict=True))

    def _nodes_before(self, wanted: list[ir.Value]) -> list[ir.Node]:
        """What must run for the wanted values, in graph order."""
        found: set[ir.Node] = set()
        open_values = list(wanted)
        while open_values:
            value = open_values.pop()
            node = value.producer()
            if value in self._present or node is None or node in found:
                continue
            found.add(node)
            open_values += self._read(node)
        # Nodes that were added since convert constants only: they come first.
        return sorted(found, key=lambda node: self._order.get(node, -1))

    def _session(
        self, nodes: list[ir.Node], sources: list[ir.Value], results: list[ir.Value]
    ) -> Session:
        """The nodes as a model of their own, for the shapes of the present values."""
        constants = dict.fromkeys(
            value for node in nodes for value in self._read(node) if value.is_initializer()
        )
        view = ir.GraphView(
            sources,
            results,
            nodes=nodes,
            initializers=tuple(constants),
            opset_imports=self._graph.opset_imports,
            name=self._graph.name,
        )
        piece = view.clone()
        for value, source in zip(piece.inputs, sources, strict=True):
            arrays = self._present[source]
            value.shape = _shape_of_all(arrays)
            value.dtype = ir.DataType.from_numpy(arrays[0].dtype)
        return Session(ir.Model(piece, ir_version=self._model.ir_version), threads=self._threads)

    def _is_awaited(self, value: ir.Value) -> bool:
        """Whether a node that has not run yet reads it."""
        return any(
            self._is_awaited(node.outputs[0]) if _is_repeated(node) else node not in self._done
            for node in (self._owner.get(node, node) for node, _ in value.uses())
        )

    def _read(self, node: ir.Node) -> list[ir.Value]:
        """The values of the main graph that the node and its bodies read."""
        return [value for value in values_read(node) if value.graph is self._graph]

    def _drop(self) -> None:
        for value in list(self._present):
            if not self._is_awaited(value):
                del self._present[value]


def _shape_of_all(arrays: Sequence[Array]) -> ir.Shape | None:
    """What the samples have in common: some values are as long as other values say."""
    first = arrays[0].shape
    if any(array.ndim != len(first) for array in arrays):
        return None
    sizes = zip(*(array.shape for array in arrays), strict=True)
    return ir.Shape([same[0] if len(set(same)) == 1 else None for same in sizes])


def _is_repeated(node: ir.Node) -> bool:
    return node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is None
