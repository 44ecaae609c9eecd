"""What detectors do outside of plans, because only the run tells how much comes out."""

from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.errors import NativeError
from q8tool.native._q8 import ffi, lib
from q8tool.native.arguments import Arguments

__all__ = ["kept_boxes"]


def kept_boxes(
    boxes: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    limit: int,
    overlap: float,
    lowest: float,
    *,
    is_centered: bool,
) -> npt.NDArray[np.int64]:
    """Boxes of one class that greedy suppression keeps, best first; q8_suppress has the rules.

    boxes    float32 [count, 4];  scores  float32 [count]
    limit    at most so many;  overlap  intersection over union that they may have
    lowest   scores must be above it
    """
    arguments, count = Arguments(), len(scores)
    if count == 0 or limit <= 0:
        return np.empty(0, np.int64)
    needed = lib.q8_suppress_bytes(count)
    if needed < 0:
        raise NativeError(f"{count} boxes are too many")
    kept, workspace = np.empty(min(count, limit), np.int64), np.empty(needed, np.uint8)
    job: Any = ffi.new("q8_suppression *")
    job.boxes = arguments.pointer(boxes, np.float32, [count, 4], "boxes")
    job.scores = arguments.pointer(scores, np.float32, [count], "scores")
    job.count, job.limit, job.is_centered = count, min(count, limit), is_centered
    job.overlap, job.lowest = overlap, lowest
    job.kept = ffi.from_buffer("int64_t[]", kept, True)
    job.workspace = ffi.from_buffer("uint8_t[]", workspace, True)
    job.workspace_bytes = needed
    job.next = -1
    while True:
        status = lib.q8_suppress(job)
        if status <= 0:
            break
    if status < 0:
        raise NativeError("boxes cannot be suppressed")
    return kept[: job.kept_count].copy()
