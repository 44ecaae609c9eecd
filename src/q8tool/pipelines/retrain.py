"""retrain: folders of photos and a base become a classifier, in float and in eight bits.

photos -> split by name -> backbone, cut at the features -> its eight-bit form
-> features of all photos (cached by content) -> head -> attach to both forms
-> judge both on the test part -> save models with labels and preprocessing inside, report
"""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool import __version__
from q8tool.errors import ExpectationError, InputError, UsageError
from q8tool.image.distort import Distortion
from q8tool.model import io, metadata
from q8tool.model.check import check
from q8tool.model.files import check_outputs, user_cache_folder
from q8tool.model.head import Head
from q8tool.passes.attach_head import attach_head
from q8tool.pipelines.backbone import Backbone, BaseOptions, load_backbone, serialized
from q8tool.pipelines.photo_features import Computed, eight_bit_form, extractor_of
from q8tool.pipelines.preprocessing import SpecOptions
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.retrain_judging import Judged, find_doubts, judge, prove
from q8tool.pipelines.retrain_photos import DataSet, read_data_set, warnings_about
from q8tool.pipelines.retrain_report import (
    Report,
    Result,
    report_text,
    save_text,
    split_text,
)
from q8tool.pipelines.training_log import save_summaries
from q8tool.train.cache import FeatureCache
from q8tool.train.features import Extraction, Wanted, extract
from q8tool.train.head import HeadOptions, Trained, train_head
from q8tool.train.softmax import Descent

__all__ = ["Form", "Kind", "Options", "run"]

Kind = Literal["int8", "float"]
Form = Literal["both", "int8", "float"]
Array = NDArray[Any]

NAMES: dict[Kind, str] = {"int8": "eight-bit", "float": "float"}
# Of a head that stands alone; any from 13 on will do.
OPSET = 17
# Photos by which the base is asked how it wants them, where nothing says it.
TRIED_PHOTOS = 8
MOST_DOUBTS = 50
# Photos on which the saved file must say what its parts said.
PROVEN_PHOTOS = 3
PROVEN_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Options:
    """What retrain is asked to do.

    output        the eight-bit model, or the float one if it is the only one; with both, the float
                  one lies beside it: retrained.float.onnx
    labels        text file, one per line; None: labels.txt beside the output
    base, sha256, feature   see pipelines.backbone.BaseOptions
    testing, validation     percentages of the photos
    cache         folder of features and downloads; None: the user's cache folder
    output_name   of the probabilities
    copies        distorted ones of each training photo
    learning_rate None: L-BFGS; batch: photos of each step, -1: all
    test_batch    at most so many test photos judge; -1: all
    min_accuracy  0..1 that the first model must reach on the test (or validation) photos
    strict        a photo that cannot be used is an error
    store_every   a model in store_folder after so many steps of training; 0: none
    """

    image_dir: Path
    output: Path = Path("retrained.onnx")
    labels: Path | None = None
    base: str = ""
    sha256: str = ""
    feature: str = ""
    form: Form = "both"
    testing: float = 10.0
    validation: float = 10.0
    seed: int = 0
    cache: Path | None = None
    output_name: str = "final_result"
    distortion: Distortion = field(default_factory=Distortion)
    copies: int = 1
    hidden: int | None = None
    most_steps: int | None = None
    learning_rate: float | None = None
    batch: int = 100
    evaluate_every: int = 10
    test_batch: int = -1
    min_accuracy: float | None = None
    strict: bool = False
    force: bool = False
    threads: int | None = None
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    summaries: Path | None = None
    store_folder: Path | None = None
    store_every: int = 0

    @property
    def report_path(self) -> Path:
        """report.json lies beside the model."""
        return self.output.with_name("report.json")

    @property
    def split_path(self) -> Path:
        """split.csv, too."""
        return self.output.with_name("split.csv")

    @property
    def labels_path(self) -> Path:
        """labels.txt, unless told otherwise."""
        return self.labels or self.output.with_name("labels.txt")

    def model_paths(self) -> dict[Kind, Path]:
        """Form of each model that is written -> its path."""
        if self.form != "both":
            return {self.form: self.output}
        second = self.output.with_name(f"{self.output.stem}.float{self.output.suffix}")
        return {"int8": self.output, "float": second}


def run(options: Options, progress: Progress = silent) -> Report:
    """Train a classifier of the folder's classes.

    Raises InputError for photos or a base that will not do, UsageError for outputs that exist or a
    disk that is full, ExpectationError if min_accuracy is missed: then only report.json is written.
    """
    return _Run(options, progress).run()


class _Run:
    """One run: its options, and what its steps tell people."""

    def __init__(self, options: Options, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.folder = options.cache or user_cache_folder()
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    def run(self) -> Report:
        """The steps, one after the other."""
        options = self.options
        _check_outputs(options)
        data = read_data_set(
            options.image_dir, options.testing, options.validation, options.seed, self.progress
        )
        self._lap("reading")
        with FeatureCache(self.folder, self.notes.append) as cache:
            backbone = self._backbone(data)
            forms = self._forms(backbone, data, cache)
            self._lap("backbone")
            data, seen = self._features(data, backbone, forms, cache)
        self._lap("features")
        _check_strict(data, options)
        trained = self._train(data, seen)
        self._lap("training")
        judged = {
            name: judge(data, seen.tests[name], trained.head, name == "int8", options.test_batch)
            for name in forms
        }
        models = {
            name: self._assembled(form, trained.head, data, backbone, name)
            for name, form in forms.items()
        }
        for name, model in models.items():
            prove(model, judged[name], data, backbone)
        self._lap("judging")
        report = self._report(data, backbone, seen, trained, judged, models)
        report = self._saved(report, data, models)
        self._save_steps(forms, data, backbone, trained)
        return report

    def _lap(self, name: str) -> None:
        """Note the seconds since the last lap."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self.started, 3)
        self.started = now

    def _backbone(self, data: DataSet) -> Backbone:
        options = self.options
        base = BaseOptions(
            options.base, options.sha256, options.feature, self.folder / "models",
            options.preprocessing,
        )  # fmt: skip
        training = data.indices("training")
        some = training[:: max(1, len(training) // TRIED_PHOTOS)]
        return load_backbone(base, [data.photos[index].path for index in some], self.progress)

    def _forms(
        self, backbone: Backbone, data: DataSet, cache: FeatureCache
    ) -> dict[Kind, Computed]:
        """The forms to write, the one that the head learns from first."""
        forms: dict[Kind, Computed] = {}
        if self.options.form != "float":
            training = data.indices("training")
            labelled = [data.photos[index].label for index in training]
            judging = frozenset(data.digests[index] for index in data.indices("test"))
            forms["int8"] = eight_bit_form(
                backbone, list(zip(data.wanted(training), labelled, strict=True)), judging,
                cache, self.options.threads, self.progress,
            )  # fmt: skip
        if self.options.form != "int8":
            forms["float"] = Computed(backbone.model, serialized(backbone.model))
        return forms

    def _features(
        self,
        data: DataSet,
        backbone: Backbone,
        forms: dict[Kind, Computed],
        cache: FeatureCache,
    ) -> tuple[DataSet, "_Seen"]:
        """What the first form sees in all photos, and the others in the test photos.

        Photos that turn out broken are left out of the data that come back.
        """
        options = self.options
        main, *others = forms

        def look(name: Kind, wanted: list[Wanted], stage: str) -> Extraction:
            extractor = extractor_of(
                backbone, forms[name], options.distortion, options.seed, options.threads
            )

            def seen(done: int) -> None:
                self.progress(stage, done, len(wanted))

            return extract(extractor, wanted, cache, seen)

        found = look(main, data.wanted(range(len(data.photos))), "features")
        data = data.without(found.failures)
        rows = np.stack([row for row in found.rows if row is not None])
        copies = _copies(data, options)
        distorted = look(main, copies, "features of distorted copies")
        test = data.indices("test")
        tests = {main: rows[test]}
        computed = found.computed + distorted.computed
        for name in others:
            judged = look(name, data.wanted(test), f"{NAMES[name]} features of the test part")
            tests[name] = np.array([row for row in judged.rows if row is not None])
            computed += judged.computed
        count = len(found.rows) + len(copies) + len(others) * len(test)
        return data, _Seen(rows, _stacked(distorted, rows), tests, computed, count)

    def _train(self, data: DataSet, seen: "_Seen") -> Trained:
        """The head, learnt from training photos with their copies, and validation photos."""
        options = self.options
        labels = np.array([photo.label for photo in data.photos])
        training, validation = data.indices("training"), data.indices("validation")
        used = [*training, *validation]
        repeats = len(seen.copies) // max(1, len(training))
        x = np.concatenate([seen.rows[used], seen.copies])
        classes = np.concatenate([labels[used], np.repeat(labels[training], repeats)])
        is_validation = np.zeros(len(x), bool)
        is_validation[len(training) : len(used)] = True
        descent = None
        if options.learning_rate is not None:
            descent = Descent(options.learning_rate, max(0, options.batch), options.seed)
        hidden = {} if options.hidden is None else {"hidden": options.hidden}
        self.progress("training", 0, 0)
        noted = [options.store_every] if options.store_every else []
        noted += [options.evaluate_every] if options.summaries is not None else []
        head_options = HeadOptions(
            most_steps=options.most_steps, descent=descent, noted=noted, **hidden
        )
        return train_head(x, classes, is_validation, len(data.labels), head_options)

    def _assembled(
        self, form: Computed, head: Head, data: DataSet, backbone: Backbone, name: Kind
    ) -> ir.Model:
        """The whole model of one form, with all that label-image wants to know inside."""
        model = form.model.clone()
        attach_head(
            model, head, self.options.output_name, len(data.labels), is_eight_bit=name == "int8"
        )
        # What quantize noted is about the backbone alone.
        model.metadata_props.clear()
        metadata.set_labels(model, list(data.labels))
        metadata.set_preprocess(model, backbone.spec.to_dict())
        recipe = {
            "version": __version__,
            "base": backbone.name,
            "feature": backbone.feature,
            "form": NAMES[name],
            "seed": self.options.seed,
        }
        metadata.set_note(model, "retrain", json.dumps(recipe, sort_keys=True))
        check(model, str(self.options.output))
        return model

    def _save_steps(
        self,
        forms: dict[Kind, Computed],
        data: DataSet,
        backbone: Backbone,
        trained: Trained,
    ) -> None:
        """Summaries, and models as they were after every so many steps."""
        options = self.options
        if options.summaries is not None:
            save_summaries(options.summaries, trained)
        if options.store_folder is None or not options.store_every:
            return
        name, form = next(iter(forms.items()))
        options.store_folder.mkdir(parents=True, exist_ok=True)
        for moment in trained.moments:
            if moment.step % options.store_every == 0:
                path = options.store_folder / f"{options.output.stem}_step_{moment.step}.onnx"
                model = self._assembled(form, moment.head, data, backbone, name)
                io.save(model, path, force=options.force)

    def _report(
        self,
        data: DataSet,
        backbone: Backbone,
        seen: "_Seen",
        trained: Trained,
        judged: dict[Kind, Judged],
        models: dict[Kind, ir.Model],
    ) -> Report:
        paths = self.options.model_paths()
        return Report(
            labels=data.labels,
            counts=data.counts(),
            base={
                "name": backbone.name,
                "feature": backbone.feature,
                "width": backbone.width,
                "preprocessing": {**backbone.spec.to_dict(), "from": backbone.chosen.source},
            },
            results=[
                Result(
                    NAMES[name], str(paths[name]), len(serialized(models[name])),
                    found.scores, found.wrong,
                )
                for name, found in judged.items()
            ],
            validation=trained.choice.scores,
            choice=trained.choice,
            tried=trained.tried,
            mislabelled=find_doubts(data, trained.unseen, next(iter(judged.values()))),
            skipped=data.skipped,
            repeated=data.repeated,
            disputed=data.disputed,
            moved=[data.file(index) for index in data.moved],
            computed=seen.computed,
            wanted=seen.count,
            seconds=self.seconds,
            warnings=[*self.notes, *warnings_about(data)],
        )  # fmt: skip

    def _saved(self, report: Report, data: DataSet, models: dict[Kind, ir.Model]) -> Report:
        """Writes the files, the report first: it is there even if the model is not good enough."""
        options = self.options
        force = options.force
        written = [save_text(options.report_path, report_text(report), force=force)]
        _check_accuracy(report, options)
        for name, path in options.model_paths().items():
            io.save(models[name], path, force=force)
            written.append(str(path))
        written.append(save_text(options.labels_path, "\n".join(data.labels) + "\n", force=force))
        written.append(save_text(options.split_path, split_text(data.split_rows()), force=force))
        self._lap("writing")
        return replace(report, written=written, seconds=self.seconds)


@dataclass(frozen=True)
class _Seen:
    """Features float32: of all photos; of the training photos' copies; of the test by form."""

    rows: Array
    copies: Array
    tests: dict[Kind, Array]
    computed: int
    count: int


def _check_outputs(options: Options) -> None:
    """Refuse early what could not be written after minutes of work."""
    paths = [*options.model_paths().values(), options.report_path, options.labels_path]
    paths.append(options.split_path)
    check_outputs(paths, force=options.force)


def _check_strict(data: DataSet, options: Options) -> None:
    bad = [*data.skipped, *((group[0], "is in several classes") for group in data.disputed)]
    if options.strict and bad:
        file, reason = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise InputError(f"{file}: {reason}{more}", "without --strict such files are left out")


def _check_accuracy(report: Report, options: Options) -> None:
    """Raises ExpectationError if the first model is worse than it must be."""
    if options.min_accuracy is None:
        return
    first, part = report.results[0], "test"
    found = None if first.test is None else first.test.accuracy
    if found is None and report.validation is not None:
        found, part = report.validation[1], "validation"
    if found is None:
        raise UsageError("--min-accuracy needs photos to judge by, there is no test part")
    if found < options.min_accuracy:
        raise ExpectationError(
            f"accuracy {found:.1%} on the {part} photos, {options.min_accuracy:.1%} was demanded; "
            "no model was written",
            f"{options.report_path} says which photos are wrong",
        )


def _copies(data: DataSet, options: Options) -> list[Wanted]:
    """Distorted copies of the training photos, those of one photo in a row."""
    if options.distortion.is_none:
        return []
    return [
        replace(item, copy=number)
        for item in data.wanted(data.indices("training"))
        for number in range(options.copies)
    ]


def _stacked(distorted: Extraction, rows: Array) -> Array:
    """Features of copies, float32 (copies, D)."""
    if distorted.failures:
        raise InputError(f"a photo changed while it was being read: {distorted.failures[0][1]}")
    found = [row for row in distorted.rows if row is not None]
    return np.stack(found) if found else np.empty((0, rows.shape[1]), np.float32)
