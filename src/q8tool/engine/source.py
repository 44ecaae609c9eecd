"""Where a session's programs come from: the plan cache, or a graph that is read when needed.

What compiles is imported only then: a process that finds its plans in the cache never loads onnx.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from q8tool.engine.program import Runnable, Signature
from q8tool.engine.summary import Summary
from q8tool.errors import InputError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from q8tool.engine.graph import Graph
    from q8tool.engine.plan_cache import PlanCache

__all__ = ["Source"]


class Source:
    """A model: a path, an onnx_ir.Model or an onnx.ModelProto.

    Raises InputError for a file that is no usable model, UnsupportedError for an operator that
    nobody implements; a file that changes while it is in use is an InputError, too.
    """

    def __init__(self, model: "str | os.PathLike[str] | ir.Model | onnx.ModelProto") -> None:
        self._model = model
        self._plans: PlanCache | None = None
        if isinstance(model, str | os.PathLike) and os.environ.get("Q8_CACHE") != "off":
            from q8tool.engine.plan_cache import cached_plans

            self._plans = cached_plans(Path(model))
        kept = None if self._plans is None else self._plans.summary()
        self._is_known = kept is not None
        self.summary: Summary = kept or self._read_summary()

    @cached_property
    def graph(self) -> "Graph":
        """The model's graph, read when it is first asked for."""
        from q8tool.engine.channel_scales import with_one_scale
        from q8tool.engine.operators import refuse_unknown_operators
        from q8tool.engine.transposed_weights import with_transposed_codes
        from q8tool.engine.wide_codes import with_wide_codes

        graph = with_wide_codes(self._plain_graph() or self._any_graph())
        graph = with_one_scale(with_transposed_codes(graph))
        known = {name for node in graph.nodes for name in node.outputs}
        known.update(graph.constants, (info.name for info in graph.inputs))
        for info in graph.outputs:
            if info.name not in known:
                raise InputError(f"nothing computes the model's output '{info.name}'")
        refuse_unknown_operators(graph)
        if self._is_known:
            self._check_summary(graph)
        return graph

    def program(
        self,
        fed: Signature,
        wanted: Sequence[str],
        isa: str | None,
        known: Mapping[str, npt.NDArray[Any]],
    ) -> Runnable:
        """The program for inputs of these types and shapes that returns the wanted values.

        known  inputs for whose values alone it is built; such programs are not kept in files
        """
        plans = None if known else self._plans
        kept = None if plans is None else plans.program(fed, wanted, isa)
        if kept is not None:
            return kept
        from q8tool.engine.compilation import compiled

        graph = self.graph
        if known or self._plans is None:
            return compiled(graph, fed, wanted, isa, known=known)
        with self._plans.journal(fed, wanted, isa) as journal:
            return compiled(graph, fed, wanted, isa, journal)

    # ---- inside ----

    def _plain_graph(self) -> "Graph | None":
        """Of a plain file, read without onnx; None of everything else."""
        if not isinstance(self._model, str | os.PathLike):
            return None
        from q8tool.engine.plain_graph import plain_graph
        from q8tool.model.plain_file import read_plain

        model = None
        with suppress(OSError):  # io.load says what is wrong with the file
            if Path(self._model).is_file():
                model = read_plain(Path(self._model))
        if model is None:
            return None
        self._check_plans()
        return plain_graph(model)

    def _any_graph(self) -> "Graph":
        import onnx_ir as ir

        from q8tool.engine.read_graph import read_graph
        from q8tool.model import io
        from q8tool.model.refusals import refusals_named

        where, model = "model", self._model
        if isinstance(model, str | os.PathLike):
            where, model = str(model), io.load(model)
            self._check_plans()
            if io.reads_other_files(model):
                self._plans = None
        elif not isinstance(model, ir.Model):
            model = io.from_proto(model)
        with refusals_named(where):
            return read_graph(model)

    def _check_plans(self) -> None:
        """Of a file that is not what it was, no plans are kept."""
        if self._plans is not None and not self._plans.is_current():
            if self._is_known:
                raise InputError(f"{self._model}: the file has changed since it was opened")
            self._plans = None

    def _check_summary(self, graph: "Graph") -> None:
        """Somebody else may have written what the cache holds."""
        kept = self.summary
        found = tuple(graph.inputs), tuple(graph.outputs), graph.optional
        if found != (kept.inputs, kept.outputs, kept.optional):
            raise InputError(
                f"{self._model}: what the plan cache says of it is of another model",
                "empty the folder of kept plans (Q8_CACHE)",
            )

    def _read_summary(self) -> Summary:
        """Of the graph; kept for the next process."""
        from q8tool.engine.parameters import parameter_inputs
        from q8tool.model.probabilities import is_probability

        graph = self.graph
        makers = {name: node for node in graph.nodes for name in node.outputs if name}

        def maker(name: str) -> tuple[str, str | None] | None:
            node = makers.get(name)
            return None if node is None else (node.op_type, node.input(0) or None)

        summary = Summary(
            inputs=tuple(graph.inputs),
            outputs=tuple(graph.outputs),
            optional=graph.optional,
            metadata_props=graph.metadata_props,
            probabilities=frozenset(o.name for o in graph.outputs if is_probability(o.name, maker)),
            parameters=parameter_inputs(graph),
        )
        if self._plans is not None:
            self._plans.keep_summary(summary)
        return summary
