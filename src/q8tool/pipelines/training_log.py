"""Training log: the course of a training as JSON lines, and as TensorBoard events if it is there.

    summaries/run-001/training.jsonl     one line per noted step of the last fit
    summaries/run-001/validation.jsonl   one line per penalty that was tried

Nothing is ever deleted: each run makes a folder with the next number.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from q8tool.errors import UsageError
from q8tool.train.head import Trained

__all__ = ["save_summaries"]


def save_summaries(folder: Path, trained: Trained) -> Path:
    """Write the log into a new folder below `folder`; returns it. Raises UsageError."""
    training = [
        {"step": moment.step, "cross_entropy": moment.loss, "accuracy": moment.accuracy}
        for moment in trained.moments
    ]
    validation = [
        {"step": number, "penalty": choice.penalty, "cross_entropy": choice.scores[0],
         "accuracy": choice.scores[1]}
        for number, choice in enumerate(trained.tried) if choice.scores is not None
    ]  # fmt: skip
    try:
        target = _next_folder(folder)
        for name, rows in (("training", training), ("validation", validation)):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (target / f"{name}.jsonl").write_text(text, encoding="utf-8")
            _save_events(target / name, rows)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{folder}: summaries cannot be written: {reason}") from error
    return target


def _next_folder(folder: Path) -> Path:
    """run-001, run-002 ...: the first that is not there."""
    number = 1
    while True:
        target = folder / f"run-{number:03}"
        try:
            target.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return target


def _save_events(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """The rows as TensorBoard's event files, if the extra is installed."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        return
    writer = EventFileWriter(str(folder))
    for row in rows:
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items() if name != "step"
        ]  # fmt: skip
        writer.add_event(Event(step=int(row["step"]), summary=Summary(value=values)))
    writer.close()
