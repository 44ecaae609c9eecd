"""Shared sessions: one of a small model, none kept of a large one; sessions pass through."""

import pytest

from q8tool.pipelines import shared_session
from q8tool.pipelines.shared_session import SharedSession, session_of
from tests.graphs import model, random


def test_one_session_of_a_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bytes of weights are kept compiled, but not where 16 are the most."""
    graph = model("g (float[1,2] x) => (float[1,4] y) { y = MatMul (x, w) }", w=random(2, 4))
    shared = SharedSession(graph, 1)
    assert session_of(shared) is session_of(shared)
    assert session_of(session_of(shared)) is session_of(shared)
    before = session_of(shared)
    shared.forget()
    assert session_of(shared) is not before
    monkeypatch.setattr(shared_session, "MOST_KEPT", 16)
    large = SharedSession(graph, 1)
    assert large.session() is not large.session()
