"""verify: does an eight-bit file keep what it says of itself?

q8tool.quantize in the file --claims--> computed again from the float model and the photos
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool.calibrate.collect import SampleStream
from q8tool.errors import InputError
from q8tool.image.spec import Spec
from q8tool.model import io, metadata
from q8tool.pipelines.answers import Referee, samples_hash
from q8tool.pipelines.compare import samples_for
from q8tool.pipelines.pixels import fold_in
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.provenance import NOTE, claims_of, source_hash
from q8tool.pipelines.rewriting import prepared
from q8tool.pipelines.samples import PhotoSamples, Samples, held_back
from q8tool.pipelines.truth import true_classes

__all__ = ["Checked", "Options", "Report", "run"]

# Float kernels of other CPUs add in another order: figures may move by so much.
TOLERANCE_DECIBELS = 0.3
_FIGURES = ("same_label", "equal_values", "sqnr_db", "top1")


@dataclass(frozen=True)
class Options:
    """What verify is asked to do: the eight-bit file, the float file, and the same photos."""

    model: Path
    float_model: Path
    images: Sequence[Path] = ()
    data: Path | None = None
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    labels_csv: Path | None = None
    label_offset: int = 0
    threads: int | None = None


@dataclass(frozen=True)
class Checked:
    """One claim, what was found, and whether both are the same."""

    claim: str
    stated: Any
    found: Any
    holds: bool


@dataclass(frozen=True)
class Report:
    """All claims of the file."""

    path: str
    checked: Sequence[Checked]

    @property
    def broken(self) -> list[str]:
        """The claims that do not hold."""
        return [row.claim for row in self.checked if not row.holds]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"path": self.path, "claims": [vars(row) for row in self.checked]}


def run(options: Options, progress: Progress = silent) -> Report:
    """Compute again what the file claims.

    Raises InputError for a file that claims nothing, and for what cannot be used.
    """
    model, original = io.load(options.model), io.load(options.float_model)
    claims = _claims(model, options.model)
    found: dict[str, Any] = {"source_sha256": source_hash(original, options.float_model)}
    rows = [_row("source_sha256", claims, found)]
    if "samples_sha256" not in claims:
        return Report(str(options.model), rows)
    samples = samples_for(model, options.images, options.data, options.preprocessing)
    if samples is None:
        raise InputError(
            f"{options.model}: its claims need the photos that it was compared on",
            "give --images or --data as they were given to quantize",
        )
    float_model, _ = prepared(original)
    found |= _found(float_model, model, samples, claims, options, progress)
    rows.append(_row("samples_sha256", claims, found))
    rows += [_row(key, claims, found) for key in _FIGURES if key in claims]
    return Report(str(options.model), rows)


def _claims(model: ir.Model, path: Path) -> dict[str, Any]:
    text = metadata.notes(model).get(NOTE)
    try:
        claims = json.loads(text or "")
    except ValueError:
        claims = None
    if not isinstance(claims, dict) or "source_sha256" not in claims:
        raise InputError(f"{path}: says nothing of how it was made", "quantize writes such notes")
    return claims


def _found(
    float_model: ir.Model,
    model: ir.Model,
    samples: Samples,
    claims: Mapping[str, Any],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    """The figures, on the samples held back if those are meant, else on all."""
    photos = samples.paths if isinstance(samples, PhotoSamples) else []
    names = metadata.labels(model) or []
    truth = true_classes(photos, names, options.labels_csv, options.label_offset)
    if "float_preprocess" in claims:
        # The float model that it was compared with took pixels as well.
        fold_in(float_model, Spec.from_dict(claims["float_preprocess"]))
    flags = _stated(metadata.preprocess(model), options)
    own = samples_for(float_model, options.images, options.data, flags)
    assert own is not None
    everything = list(range(len(samples)))
    found: dict[str, Any] = {}
    for indices in (held_back(len(samples))[1], everything):
        chosen = _chosen(own, indices)
        as_taken = _chosen(samples, indices)
        if not found or samples_hash(as_taken) == claims["samples_sha256"]:
            referee = Referee(float_model, chosen, options.threads, truth, progress)
            found = claims_of(referee.compare(model, as_taken), as_taken, len(samples))
        if found.get("samples_sha256") == claims["samples_sha256"]:
            break
    return found


def _stated(rules: Mapping[str, Any] | None, options: Options) -> SpecOptions:
    """The flags, and where they say nothing what the eight-bit file says."""
    flags = options.preprocessing
    if rules is None or flags != SpecOptions():
        return flags
    spec = Spec.from_dict(rules)
    return SpecOptions(size=spec.size, mean=spec.mean, std=spec.std, resize=spec.resize)


def _chosen(samples: Samples, indices: Sequence[int]) -> SampleStream:
    return lambda: samples.at(indices)


def _row(key: str, claims: Mapping[str, Any], found: Mapping[str, Any]) -> Checked:
    stated, actual = claims.get(key), found.get(key)
    return Checked(key, stated, actual, _is_same(key, stated, actual))


def _is_same(key: str, stated: Any, actual: Any) -> bool:
    if key == "sqnr_db" and isinstance(stated, float) and isinstance(actual, float):
        return abs(stated - actual) <= TOLERANCE_DECIBELS
    return bool(stated == actual)
