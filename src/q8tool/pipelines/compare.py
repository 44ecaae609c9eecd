"""compare: two models side by side on the same photos: answers, values in between, size and time.

A, B --photos--> answers: agreement, noise, accuracy, which photos they differ on
             --> values of equal names: where the noise comes from
             --> time, interleaved
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import SampleStream
from q8tool.engine.read_graph import read_graph
from q8tool.engine.session import Session
from q8tool.errors import ExpectationError, InputError, UsageError
from q8tool.image.load import find_photos
from q8tool.model import io, metadata
from q8tool.pipelines.answers import Comparison, Referee, Truth
from q8tool.pipelines.guard import beyond
from q8tool.pipelines.preprocessing import SpecOptions, choose_spec, image_input
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.samples import PhotoSamples, Samples, load_arrays
from q8tool.pipelines.timing import Timing, time_models
from q8tool.pipelines.truth import true_classes

__all__ = ["Options", "Report", "SharedValue", "run", "samples_for"]

PICTURE_TYPES = tuple(np.dtype(name) for name in ("float32", "float16", "uint8"))


@dataclass(frozen=True)
class Options:
    """What compare is asked to do: reference and other on the same images or data.

    max_drop, min_agreement  shares 0..1; None: whatever it is
    """

    reference: Path
    other: Path
    images: Sequence[Path] = ()
    data: Path | None = None
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    labels_csv: Path | None = None
    label_offset: int = 0
    max_drop: float | None = None
    min_agreement: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class SharedValue:
    """A value that both models compute under one name: how noisy the other's is.

    op         the operator of the reference that makes it
    sqnr_db    None: equal, or all zeros
    is_scaled  whether its channels have another scale in the other, which was undone
    """

    name: str
    op: str
    sqnr_db: float | None
    is_scaled: bool = False


@dataclass(frozen=True)
class Report:
    """How two models differ.

    sizes    bytes on disk of the reference and of the other
    values   what both compute under one name, in the reference's order
    skipped  (file, reason) of photos that could not be read
    """

    paths: tuple[str, str]
    sizes: tuple[int, int]
    comparison: Comparison
    timing: Timing
    values: Sequence[SharedValue]
    skipped: Sequence[tuple[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "reference": self.paths[0],
            "other": self.paths[1],
            "bytes": {"reference": self.sizes[0], "other": self.sizes[1]},
            "comparison": self.comparison.to_json(),
            "milliseconds": {"reference": self.timing.float_ms, "other": self.timing.eight_bit_ms},
            "values": [vars(value) for value in self.values],
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
        }

    def check(self, options: Options) -> None:
        """Raises ExpectationError if more was lost than the options allow."""
        found = self.comparison
        if options.min_agreement is not None and (
            found.agreement is None or found.agreement < options.min_agreement
        ):
            said = "unknown" if found.agreement is None else f"{found.agreement:.2%}"
            raise ExpectationError(
                f"the agreement is {said}, not at least {options.min_agreement:.2%}"
            )
        if options.max_drop is not None and (found.drop is None or found.drop > options.max_drop):
            raise beyond(found, options.max_drop, writes=False)


def run(options: Options, progress: Progress = silent) -> Report:
    """Compare two models. Without photos or arrays the input is random.

    Raises UsageError or InputError for what cannot be used, and for models that do not go together.
    Whether the result is good enough is for Report.check to say.
    """
    if options.images and options.data is not None:
        raise UsageError("--images and --data exclude each other", "give one of them")
    paths = (options.reference, options.other)
    models = [io.load(path) for path in paths]
    _refuse_strangers(models, paths)
    sources = [samples_for(model, options.images, options.data, options.preprocessing)
               for model in models]  # fmt: skip
    fresh = [None if source is None else _all(source) for source in sources]
    photos = sources[0].paths if isinstance(sources[0], PhotoSamples) else []
    truth: Truth = true_classes(
        photos, metadata.labels(models[0]) or [], options.labels_csv, options.label_offset
    )
    referee = Referee(models[0], fresh[0], options.threads, truth, progress)
    progress("running the other model", 0, 0)
    try:
        comparison = referee.compare(models[1], fresh[1])
    except UsageError as error:  # of a session: the inputs' names, types or shapes are others
        raise InputError(
            f"{paths[1]}: does not take what {paths[0]} takes: {error.message}"
        ) from error
    feeds = [referee.first.feeds, referee.first.feeds]
    if fresh[1] is not None:
        feeds[1] = next(fresh[1]()).feeds
    source = sources[0]
    return Report(
        paths=(str(paths[0]), str(paths[1])),
        sizes=(io.file_bytes(models[0], paths[0]), io.file_bytes(models[1], paths[1])),
        comparison=comparison,
        timing=time_models(models[0], models[1], feeds[0], options.threads, feeds[1]),
        values=_shared_values(models, [referee.samples, fresh[1] or referee.samples],
                              options.threads, progress),
        skipped=source.skipped if isinstance(source, PhotoSamples) else [],
    )  # fmt: skip


def samples_for(
    model: ir.Model, images: Sequence[Path], data: Path | None, options: SpecOptions
) -> Samples | None:
    """Photos or arrays as this model takes them, floats or bytes; None if none are given."""
    inputs = read_graph(model).fed
    if data is not None:
        return load_arrays(data, inputs)
    if not images:
        return None
    paths = find_photos(images)
    info = image_input(inputs, types=PICTURE_TYPES)
    samples = PhotoSamples(paths, info, choose_spec(model, info, options, paths).spec)
    samples.refuse_unreadable()
    return samples


def _all(samples: Samples) -> SampleStream:
    return lambda: samples.at(range(len(samples)))


def _refuse_strangers(models: Sequence[ir.Model], paths: Sequence[Path]) -> None:
    outputs = [{str(value.name): value.shape for value in model.graph.outputs} for model in models]
    if outputs[0].keys() != outputs[1].keys():
        names = [list(shapes) for shapes in outputs]
        raise InputError(
            f"{paths[1]}: its outputs {names[1]} are not those of {paths[0]}, {names[0]}"
        )
    for name, shape in outputs[0].items():
        other = outputs[1][name]
        if not _may_be_equal(shape, other):
            raise InputError(
                f"{paths[1]}: its output '{name}' has shape {other}, that of {paths[0]} {shape}"
            )


def _may_be_equal(one: ir.Shape | None, other: ir.Shape | None) -> bool:
    """Whether two shapes, some of whose sizes may be open, can be the same."""
    if one is None or other is None:
        return True
    sizes = list(zip(one, other, strict=False))
    both = [(a, b) for a, b in sizes if isinstance(a, int) and isinstance(b, int)]
    return len(one) == len(other) and all(a == b for a, b in both)


def _shared_values(
    models: Sequence[ir.Model],
    samples: Sequence[SampleStream],
    threads: int | None,
    progress: Progress,
) -> list[SharedValue]:
    """Noise of every float value that both models compute under one name."""
    made = [_float_results(model) for model in models]
    noted = {**metadata.scaled_values(models[0]), **metadata.scaled_values(models[1])}
    # What something was subtracted from is another value under the same name.
    scaled = {name: axis for name, axis in noted.items() if axis is not None}
    names = [name for name in made[0] if name in made[1] and (name not in noted or name in scaled)]
    sessions = [Session(model, threads=threads, observe=names) for model in models]
    found: dict[str, _Energies] = {}
    for done, (one, two) in enumerate(zip(samples[0](), samples[1](), strict=True), 1):
        wanted, actual = sessions[0].run(one.feeds), sessions[1].run(two.feeds)
        for name in names:
            a, b = wanted[name], actual[name]
            if _are_floats(a) and _are_floats(b) and a.shape == b.shape:
                axis = scaled.get(name)
                energies = _Energies.of(a, b, axis)
                found[name] = found[name] + energies if name in found else energies
        progress("comparing values", done, 0)
    return [
        SharedValue(name, made[0][name], energies.decibels(name in scaled), name in scaled)
        for name, energies in found.items()
    ]


def _are_floats(value: object) -> bool:
    """False for other values, and sequences, whose type nobody wrote down."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


@dataclass(frozen=True)
class _Energies:
    """Sums over samples, of all channels together, or (channels,) each.

    a, b        of the squares of the reference and of the other
    products    of both multiplied
    difference  of the squared difference
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    products: NDArray[np.float64]
    difference: NDArray[np.float64]

    @staticmethod
    def of(a: NDArray[Any], b: NDArray[Any], axis: int | None) -> "_Energies":
        """Of one sample. axis: of the channels, None if they are not told apart."""
        is_split = axis is not None and -a.ndim <= axis < a.ndim
        others = tuple(at for at in range(a.ndim) if not is_split or at != (axis or 0) % a.ndim)
        one, two = a.astype(np.float64), b.astype(np.float64)
        arrays = (one * one, two * two, one * two, np.square(one - two))
        a_sum, b_sum, products, difference = (np.asarray(x.sum(axis=others)) for x in arrays)
        return _Energies(a_sum, b_sum, products, difference)

    def __add__(self, other: "_Energies") -> "_Energies":
        return _Energies(
            self.a + other.a, self.b + other.b,
            self.products + other.products, self.difference + other.difference,
        )  # fmt: skip

    def decibels(self, undoes_scale: bool) -> float | None:
        """Signal to noise; None where they are equal, or all zeros.

        undoes_scale  each channel of the other is multiplied by what brings it closest
        """
        noise = self.difference
        if undoes_scale:
            explained = np.divide(
                np.square(self.products), self.b, out=np.zeros_like(self.b), where=self.b > 0.0
            )
            noise = np.maximum(self.a - explained, 0.0)
        signal, lost = float(self.a.sum()), float(noise.sum())
        if not signal > 0.0 or not lost > 0.0:
            return None
        return float(10.0 * np.log10(signal / lost))


def _float_results(model: ir.Model) -> dict[str, str]:
    """Name of every float value that a node of the main graph makes -> its operator."""
    return {
        value.name: node.op_type
        for node in model.graph
        for value in node.outputs
        if value.name and value.dtype in (None, ir.DataType.FLOAT)
    }
