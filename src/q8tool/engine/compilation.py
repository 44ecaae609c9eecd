"""Compiles a graph for inputs of given shapes.

graph + shapes -> facts -> branches -> half floats widened -> steps -> segments -> plans -> Program

What lies behind shapes that only the run tells is cut off (staging.py) and compiled when they are
known (staged_program.py).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from q8tool.engine.assemble import RefusedStep, assembled
from q8tool.engine.branches import with_chosen_branches
from q8tool.engine.expanding import expanded
from q8tool.engine.facts import Fact, allowed_bytes, known_facts
from q8tool.engine.fusion import fused
from q8tool.engine.graph import Graph, Node
from q8tool.engine.lowering import Lowering, RefusedNode
from q8tool.engine.lowerings import COMPUTING, MOVING, new_lowering
from q8tool.engine.program import HostSegment, NativeSegment, Program, Runnable, Signature
from q8tool.engine.schedule import Segment, segments, without_unread
from q8tool.engine.squeezing import squeezed
from q8tool.engine.staged_program import StagedProgram
from q8tool.engine.staging import Cut, cut_at_unknown_shapes
from q8tool.engine.tensors import HostStep, NativeStep, Storage, Tensor
from q8tool.engine.widen import widened
from q8tool.errors import InputError

if TYPE_CHECKING:
    from q8tool.engine.plan_store import Journal

__all__ = ["compiled"]

# A program has so many stages at most; what is behind shapes that are unknown then is on the host.
_MOST_STAGES = 32


def compiled(
    graph: Graph,
    fed: Signature,
    wanted: Sequence[str],
    isa: str | None,
    journal: "Journal | None" = None,
    known: Mapping[str, NDArray[Any]] | None = None,
    stages: int = _MOST_STAGES,
) -> Runnable:
    """The program for inputs of the types and shapes in `fed`.

    wanted   names of the values that it returns
    isa      None: the best of this CPU
    journal  receives every call that built the plan, if the program is a single plan; else it
             stays empty
    known    values of some inputs, which the program may then take for constants
    stages   in how many the program may run

    Raises UnsupportedError for an operator that nobody implements.
    """
    refused: dict[Node, str] = {}
    whole, facts = _described(graph, fed, known or {}, waits=stages > 1)
    cut = cut_at_unknown_shapes(whole, facts, fed) if stages > 1 else None
    if cut is not None:
        return _staged(whole, cut, fed, wanted, isa, known or {}, stages)
    if stages > 1 and any(fact.shape is None for fact in facts.values()):
        whole, facts = _described(graph, fed, known or {}, waits=False)
    graph, facts = widened(whole, facts, wanted, COMPUTING, MOVING)
    while True:
        try:
            return _compiled(graph, fed, facts, wanted, isa, refused, journal)
        except RefusedStep as refusal:
            nodes = refusal.step.nodes
            if not nodes or nodes[0] in refused:
                raise refusal.error from refusal
            refused[nodes[0]] = str(refusal)
        except RefusedNode as refusal:
            if refusal.node in refused:
                node = refusal.node
                raise InputError(f"node '{node.name}' ({node.op_type}): {refusal}") from refusal
            refused[refusal.node] = str(refusal)


def _described(
    graph: Graph, fed: Signature, known: Mapping[str, NDArray[Any]], *, waits: bool
) -> tuple[Graph, dict[str, Fact]]:
    """The graph with the branches that are taken, and what is known of its values."""
    facts = known_facts(graph, fed, known, waits=waits)
    while (chosen := with_chosen_branches(graph, facts)) is not None:
        graph = chosen
        facts = known_facts(graph, fed, known, waits=waits)
    return graph, facts


def _staged(
    graph: Graph,
    cut: Cut,
    fed: Signature,
    wanted: Sequence[str],
    isa: str | None,
    known: Mapping[str, NDArray[Any]],
    stages: int,
) -> Runnable:
    """A program that compiles the late part of the graph when it runs."""
    reads = [info.name for info in cut.late.inputs]
    made = {name for node in cut.early.nodes for name in node.outputs if name}
    late = {name for node in cut.late.nodes for name in node.outputs} - made
    first = dict.fromkeys(name for name in (*reads, *wanted) if name in made)
    others = [name for name in wanted if name not in late and name not in made]
    return StagedProgram(
        compiled(cut.early, fed, [*first, *others], isa, known=known, stages=1),
        reads,
        cut.deciding,
        wanted,
        lambda shapes, sizes: compiled(
            cut.late, shapes, [n for n in wanted if n in late], isa, None, sizes, stages - 1
        ),
        lambda: compiled(graph, fed, wanted, isa, known=known, stages=1),
    )


def _compiled(
    graph: Graph,
    fed: Signature,
    facts: Mapping[str, Fact],
    wanted: Sequence[str],
    isa: str | None,
    refused: Mapping[Node, str],
    journal: "Journal | None",
) -> Runnable:
    """One attempt; nodes in `refused` go to the host for that reason."""
    lowering = new_lowering(graph, facts, wanted, refused)
    inputs = {name: lowering.outer_form(lowering.value(name)) for name in fed}
    lowering.run()
    _refuse_huge_steps(lowering, allowed_bytes(facts[name] for name in (*fed, *graph.constants)))
    results = {name: lowering.result(name) for name in wanted}
    steps = fused(without_unread(list(lowering.steps), results.values()), results.values())
    steps = squeezed(expanded(steps, results.values()), results.values())
    ordered = segments(steps)
    outside = _shared_storages(ordered, [*inputs.values(), *results.values()])
    if journal is not None:
        journal.clear()
    is_one_plan = len(ordered) == 1 and not isinstance(ordered[0], HostStep)
    kept = journal if is_one_plan else None
    made: list[HostSegment | NativeSegment] = []
    for segment in ordered:
        if isinstance(segment, HostStep):
            from q8tool.ops.host import HostOperator

            node = segment.node
            made.append(HostSegment(segment, HostOperator(node.proto, node.reads, graph.opsets)))
        else:
            made.append(assembled(segment, outside, isa, kept))
    program = Program(made, inputs, results, outside)
    if kept is not None:
        kept.finish(program)
    return program


def _refuse_huge_steps(lowering: Lowering, most: int) -> None:
    """Raises RefusedNode for a step on the way that takes what no value may.

    A picture that a ConvTranspose spreads has the channels of what it reads and the size of what it
    writes.
    """
    for step in lowering.steps:
        if isinstance(step, NativeStep) and step.nodes:
            size = max((tensor.storage.bytes or 0 for tensor in step.outputs), default=0)
            if size > most:
                raise RefusedNode(step.nodes[0], f"it would need {size:,} bytes at once")


def _shared_storages(ordered: Sequence[Segment], ends: Sequence[Tensor]) -> set[Storage]:
    """Storages that more than one segment, a host step or the caller touches."""
    outside = {tensor.storage for tensor in ends}
    seen: dict[Storage, int] = {}
    for index, segment in enumerate(ordered):
        steps = [segment] if isinstance(segment, HostStep) else segment
        for step in steps:
            for tensor in (*step.inputs, *step.outputs):
                if isinstance(step, HostStep) or seen.setdefault(tensor.storage, index) != index:
                    outside.add(tensor.storage)
    return outside
