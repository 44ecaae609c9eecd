"""What retrain found out, and the files that say it: report.json, split.csv, labels.txt."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from q8tool.model.files import write_atomically
from q8tool.train.head import Choice
from q8tool.train.scores import Scores

__all__ = ["Report", "Result", "Verdict", "report_text", "save_text", "split_text"]


@dataclass(frozen=True)
class Verdict:
    """A photo, the label of its folder, and what the model says instead.

    probability  of the answer; of the label: `given`
    """

    file: str
    label: str
    answer: str
    probability: float
    given: float
    part: str = "test"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "file": self.file,
            "label": self.label,
            "answer": self.answer,
            "probability": self.probability,
            "probability_of_label": self.given,
            "part": self.part,
        }


@dataclass(frozen=True)
class Result:
    """One model that was written.

    form           "float" or "eight-bit"
    test           its scores on the test photos, None without test part
    misclassified  test photos, the one with the greatest loss first
    """

    form: str
    path: str
    size: int
    test: Scores | None
    misclassified: Sequence[Verdict]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "form": self.form,
            "file": self.path,
            "bytes": self.size,
            "test": None if self.test is None else self.test.to_json(),
            "misclassified": [verdict.to_json() for verdict in self.misclassified],
        }


@dataclass(frozen=True)
class Report:
    """What retrain did.

    counts      part -> photos of each class
    results     the eight-bit model first
    validation  cross-entropy and accuracy before the last fit; None without validation part
    mislabelled photos whose label a head that had not learnt from them is sure is wrong
    skipped     (file, reason)
    repeated, disputed   groups of files with the same content: in one class, in several
    moved       photos on another side than their hash says, so that no class misses a part
    computed    features that were not in the cache, of `wanted`
    warnings    for people
    """

    labels: Sequence[str]
    counts: dict[str, list[int]]
    base: dict[str, Any]
    results: Sequence[Result]
    validation: tuple[float, float] | None
    choice: Choice
    tried: Sequence[Choice]
    mislabelled: Sequence[Verdict]
    skipped: Sequence[tuple[str, str]]
    repeated: Sequence[Sequence[str]]
    disputed: Sequence[Sequence[str]]
    moved: Sequence[str]
    computed: int
    wanted: int
    seconds: dict[str, float]
    written: Sequence[str] = ()
    warnings: Sequence[str] = field(default_factory=list)

    def to_json(self, with_times: bool = True) -> dict[str, Any]:
        """As JSON values; without times the same run gives the same values."""
        report: dict[str, Any] = {
            "labels": list(self.labels),
            "photos": self.counts,
            "base": self.base,
            "models": [result.to_json() for result in self.results],
            "validation": None
            if self.validation is None
            else {"cross_entropy": self.validation[0], "accuracy": self.validation[1]},
            "penalty": self.choice.penalty,
            "tried": [
                {"penalty": choice.penalty, "cross_entropy": choice.scores[0],
                 "accuracy": choice.scores[1]}
                for choice in self.tried if choice.scores is not None
            ],
            "likely_mislabelled": [verdict.to_json() for verdict in self.mislabelled],
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            "repeated": [list(group) for group in self.repeated],
            "in_several_classes": [list(group) for group in self.disputed],
            "moved_to_another_part": list(self.moved),
            "warnings": list(self.warnings),
        }  # fmt: skip
        if with_times:
            report |= {
                "features": {"computed": self.computed, "cached": self.wanted - self.computed},
                "seconds": self.seconds,
                "written": list(self.written),
            }
        return report


def split_text(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """split.csv: file, label, part, and the percentage that its name hashes to."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "part", "hash_percentage"])
    writer.writerows([(*row[:3], f"{row[3]:.4f}") for row in rows])
    return text.getvalue()


def save_text(path: Path, text: str, *, force: bool) -> str:
    """Write a text file whole or not at all; returns its name."""
    with write_atomically(path, force=force) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    return str(path)


def report_text(report: Report) -> str:
    """report.json, the same for the same run: no times, no paths of this machine but the given."""
    return json.dumps(report.to_json(with_times=False), indent=2, ensure_ascii=False) + "\n"
