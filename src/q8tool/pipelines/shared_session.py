"""Shared session: a model and one session of it, for all steps of a pipeline that run it.

Compiling a model of a few megabytes takes as long as ten to thirty runs of it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from q8tool.engine.session import Session

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["SharedSession", "is_large", "session_of"]

# Compiled weights lie in memory beside the model's: those of a larger model only while they are
# needed. What compiling takes is then little beside the runs.
MOST_KEPT = 32 << 20


class SharedSession:
    """A model that must not change any more, and its session, made when it is first asked for."""

    def __init__(self, model: "ir.Model", threads: int | None = None) -> None:
        self.model = model
        self._threads = threads
        self._session: Session | None = None

    @property
    def metadata_props(self) -> Mapping[str, str]:
        """The model's notes."""
        return self.model.metadata_props

    def session(self) -> Session:
        """The same one every time, unless the model is large."""
        from q8tool.model.graph import weight_bytes

        if self._session is not None:
            return self._session
        session = Session(self.model, threads=self._threads)
        if weight_bytes(self.model) <= MOST_KEPT:
            self._session = session
        return session

    def forget(self) -> None:
        """Lets go of the session, and of the memory that its values take."""
        self._session = None


def is_large(model: "ir.Model | Session | SharedSession") -> bool:
    """Whether all weights at once may be more than memory holds: it is better run in parts."""
    from q8tool.engine.parts import LARGE
    from q8tool.model.graph import weight_bytes

    if isinstance(model, Session):
        return False
    return weight_bytes(model.model if isinstance(model, SharedSession) else model) > LARGE


def session_of(model: "ir.Model | Session | SharedSession", threads: int | None = None) -> Session:
    """The session that is there already, or a new one."""
    if isinstance(model, SharedSession):
        return model.session()
    return model if isinstance(model, Session) else Session(model, threads=threads)
