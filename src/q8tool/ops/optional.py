"""Optional: onnx.reference wraps the value in a list, which no operator unwraps."""

from typing import Any

from onnx.reference.op_run import OpRun

__all__ = ["Optional"]


class Optional(OpRun):
    """The value itself stands for an optional that has it; opset 15 and up."""

    def _run(self, x: Any = None, **attributes: Any) -> tuple[Any, ...]:
        return (x,)
