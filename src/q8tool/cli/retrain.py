"""q8tool retrain: folders of photos become a classifier, in float and in eight bits."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from q8tool.cli import report
from q8tool.cli.options import (
    FiniteRange,
    debug_option,
    force_option,
    json_option,
    one_thread_for_matrices,
    preprocessing_options,
    threads_option,
)

if TYPE_CHECKING:
    from q8tool.pipelines.retrain_report import Report, Verdict

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])
# Rows of a list on the terminal; report.json has all.
SHOWN = 10
PERCENT = FiniteRange(0, 100)


def _accuracy(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Callback: 0.9 and 90 are both nine of ten."""
    return value if value is None or value <= 1 else value / 100


def _output_options(function: F) -> F:
    """What is written, and where."""
    for option in reversed([
        click.option(
            "--output-graph", "-o", "output", type=click.Path(path_type=Path), metavar="FILE",
            default=Path("retrained.onnx"), show_default=True,
            help="The model to write; report.json and split.csv go beside it.",
        ),
        click.option(
            "--output-labels", "labels", type=click.Path(path_type=Path), metavar="FILE",
            help="One label per line; default: labels.txt beside the model.",
        ),
        click.option(
            "--both", "form", flag_value="both", default=True,
            help="Write an eight-bit model and, beside it, a float one (NAME.float.onnx). Default.",
        ),
        click.option("--int8", "form", flag_value="int8", help="Write the eight-bit model only."),
        click.option(
            "--float", "form", flag_value="float",
            help="Write a float model only; it learns from the float network's features.",
        ),
        click.option(
            "--final-tensor-name", "output_name", default="final_result", show_default=True,
            metavar="NAME", help="What the output with the probabilities is called.",
        ),
        click.option(
            "--min-accuracy", type=PERCENT, callback=_accuracy, metavar="SHARE",
            help="Exit with 4, and write no model, below this on the test part: 0.9 or 90.",
        ),
        click.option(
            "--print-misclassified-test-images", "prints_wrong", is_flag=True,
            help="List all test photos that are labelled wrong, not only the worst.",
        ),
    ]):  # fmt: skip
        function = option(function)
    return function


def _base_options(function: F) -> F:
    """Which network to begin with."""
    for option in reversed([
        click.option(
            "--base", default="", metavar="FILE|URL",
            help="An ONNX classifier to begin with, float: a file or an https address. Default: "
            "a small general network inside q8tool.",
        ),
        click.option(
            "--sha256", default="", metavar="HEX", help="Checksum that the base must have.",
        ),
        click.option(
            "--feature", default="", metavar="NAME",
            help="The value to learn from; default: what the base's last layer reads.",
        ),
    ]):  # fmt: skip
        function = option(function)
    return function


def _data_options(function: F) -> F:
    """How photos are divided, distorted and kept."""
    for option in reversed([
        click.option(
            "--testing-percentage", "testing", type=PERCENT, default=10.0, show_default=True,
            metavar="N", help="Photos that only judge the result.",
        ),
        click.option(
            "--validation-percentage", "validation", type=PERCENT, default=10.0,
            show_default=True, metavar="N",
            help="Photos that choose how strongly the weights are held back.",
        ),
        click.option(
            "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
            help="Another one splits and distorts the photos differently.",
        ),
        click.option(
            "--strict", is_flag=True, help="Stop at a photo that cannot be used; else it is left "
            "out and listed.",
        ),
        click.option("--flip-left-right", "mirror", is_flag=True, help="Learn from mirrored "
                     "copies, too."),
        click.option("--random-crop", "crop", type=click.IntRange(0, 100), default=0, metavar="N",
                     help="Learn from copies with up to N % cut off."),
        click.option("--random-scale", "scale", type=click.IntRange(0, 100), default=0,
                     metavar="N", help="... up to N % closer."),
        click.option("--random-brightness", "brightness", type=click.IntRange(0, 100), default=0,
                     metavar="N", help="... up to N % brighter or darker."),
        click.option("--copies", type=click.IntRange(1, 100), default=1, show_default=True,
                     metavar="N", help="Distorted copies of each photo, where any are asked for."),
        click.option(
            "--bottleneck-dir", "cache", type=click.Path(path_type=Path), metavar="DIR",
            help="Where features and downloads are kept; default: the user's cache folder.",
        ),
    ]):  # fmt: skip
        function = option(function)
    return function


def _training_options(function: F) -> F:
    """How the last layers are trained."""
    for option in reversed([
        click.option(
            "--hidden", type=click.IntRange(0, 4096), metavar="N",
            help="Most hidden units, each a photo to compare with; 0: plain softmax regression. "
            "Default: 2048.",
        ),
        click.option(
            "--how-many-training-steps", "most_steps", type=click.IntRange(1), metavar="N",
            help="Most steps; default: until nothing changes any more.",
        ),
        click.option(
            "--learning-rate", type=FiniteRange(0, min_open=True), metavar="R",
            help="Train in small steps of this size on random batches, as in 2016, instead of "
            "L-BFGS.",
        ),
        click.option("--train-batch-size", "batch", type=int, default=100, show_default=True,
                     metavar="N", help="Photos of each such step; -1: all."),
        click.option("--test-batch-size", "test_batch", type=int, default=-1, show_default=True,
                     metavar="N", help="Judge on so many test photos at most; -1: all."),
        click.option(
            "--eval-step-interval", "evaluate_every", type=click.IntRange(1), default=10,
            show_default=True, metavar="N", help="Steps between two lines of the summaries.",
        ),
        click.option(
            "--summaries-dir", "summaries", type=click.Path(path_type=Path), metavar="DIR",
            help="Write the course of the training there, as JSON lines, in a new folder.",
        ),
        click.option(
            "--intermediate-output-graphs-dir", "store_folder",
            type=click.Path(path_type=Path), metavar="DIR", help="Keep models on the way there.",
        ),
        click.option(
            "--intermediate-store-frequency", "store_every", type=click.IntRange(0), default=0,
            show_default=True, metavar="N", help="... one every N steps.",
        ),
    ]):  # fmt: skip
        function = option(function)
    return function


@click.command("retrain")
@click.option(
    "--image-dir", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="One folder of photos per class, or train, val and test folders that hold those.",
)  # fmt: skip
@one_thread_for_matrices
@_output_options
@_base_options
@_data_options
@_training_options
@preprocessing_options
@threads_option
@force_option
@json_option
@debug_option
def command(
    *, as_json: bool, prints_wrong: bool, mirror: bool, crop: int, scale: int, brightness: int,
    **options: Any,
) -> None:  # fmt: skip
    """Teach a network your own classes from folders of photos.

    What the network sees in a photo stays as it is; new last layers learn to tell your classes
    from it. The result is one ONNX file with labels and preprocessing inside, ready for
    label-image, in eight bits and in float.

    \b
    Example:
      q8tool retrain --image-dir flowers/
      q8tool label-image photo.jpg --graph retrained.onnx
    """
    from q8tool.image.distort import Distortion
    from q8tool.pipelines import retrain

    distortion = Distortion(mirror, crop, scale, brightness)
    with report.progress() as bar:
        result = retrain.run(retrain.Options(distortion=distortion, **options), bar)
    if as_json:
        report.print_json(result.to_json())
    else:
        _print(result, prints_wrong)


def _print(result: "Report", prints_wrong: bool) -> None:
    for text in result.warnings:
        report.note(f"warning: {text}")
    for file, reason in result.skipped[:SHOWN]:
        report.note(f"skipped {file}: {reason}")
    if len(result.skipped) > SHOWN:
        report.note(f"skipped {len(result.skipped) - SHOWN} more, see report.json")
    _print_classes(result)
    wrong = result.results[0].misclassified
    if prints_wrong and wrong:
        _print_verdicts("labelled wrong", wrong)
    if result.mislabelled:
        shown = result.mislabelled if prints_wrong else result.mislabelled[:SHOWN]
        _print_verdicts("perhaps in the wrong folder", shown)
    report.facts(_facts(result))


def _print_classes(result: "Report") -> None:
    """Counts by part, and how the first model fares with each class."""
    first = result.results[0].test
    columns = ["class", *result.counts]
    rows: list[list[object]] = [
        [label, *(counts[index] for counts in result.counts.values())]
        for index, label in enumerate(result.labels)
    ]
    if first is not None:
        columns += ["precision", "recall", "F1"]
        for row, score in zip(rows, first.classes, strict=True):
            row += [_share(value) for value in (score.precision, score.recall, score.f1)]
    report.table(columns, rows)


def _print_verdicts(title: str, verdicts: "list[Verdict] | Any") -> None:
    rows = [(item.file, item.answer, f"{item.probability:.3f}") for item in verdicts]
    report.table([title, "looks like", "probability"], rows)


def _facts(result: "Report") -> list[tuple[str, object]]:
    used = sum(map(sum, result.counts.values()))
    cached = result.wanted - result.computed
    rows: list[tuple[str, object]] = [
        ("base", f"{result.base['name']}, {result.base['width']} features"),
        ("photos", f"{used} used, {len(result.skipped)} skipped"),
        (
            "features",
            f"{result.computed} computed, {cached} from the cache",
        ),
    ]
    if result.validation is not None:
        rows.append(("validation", f"{result.validation[1]:.1%} right"))
    for item in result.results:
        size = report.amount(item.size)
        if item.test is None:
            rows.append((item.form, f"{size}, no test part"))
            continue
        low, high = item.test.interval
        rows.append((
            item.form,
            f"{item.test.accuracy:.1%} of {item.test.photos} test photos right "
            f"(95 %: {low:.1%} to {high:.1%}), {size}",
        ))  # fmt: skip
    rows.append(("time", f"{sum(result.seconds.values()):.1f} s"))
    rows.append(("written", ", ".join(result.written)))
    return rows


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
