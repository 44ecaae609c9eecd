"""q8tool: turns float ONNX models into eight-bit ones and runs them fast on a CPU."""

from __future__ import annotations

# typing takes longer to import than all else before the command line answers Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from q8tool.engine.session import Session

__all__ = ["Session", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports Session when it is first asked for: `q8tool --help` must not wait for numpy."""
    if name == "Session":
        from q8tool.engine.session import Session

        return Session
    raise AttributeError(f"module 'q8tool' has no attribute '{name}'")
