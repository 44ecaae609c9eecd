"""What is fuzzed: which file is damaged, how, and which command then reads it.

All of it happens in the working folder, where `prepare` puts the sound files that commands need.
"""

import contextlib
import functools
import hashlib
import importlib
import math
import pkgutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

import q8tool
from q8tool import Session
from q8tool.cli import main, report
from q8tool.errors import InputError
from tests.fuzz import seeds
from tests.fuzz.mutate import Random, damaged_bytes, damaged_model, damaged_text
from tests.fuzz.network_seeds import networks
from tests.fuzz.operator_seeds import operators
from tests.fuzz.worker import ALLOWED

__all__ = ["MODEL_RUNS", "TARGETS", "Run", "Target", "prepare"]

Damage = Callable[[Random, bytes], bytes]
Run = Callable[[Path, Random], int]


@dataclass(frozen=True)
class Target:
    """What makes sound files by name; the damaged one keeps its name's ending.

    run       gives the exit code
    allowed   exit codes that are an answer
    """

    make_seeds: Callable[[], seeds.Seeds]
    damage: Damage
    run: Run
    allowed: Collection[int] = ALLOWED

    @functools.cached_property
    def seeds(self) -> seeds.Seeds:
        """The sound files, when they are first asked for."""
        return self.make_seeds()

    @functools.cached_property
    def names(self) -> Sequence[str]:
        """Of the sound files, sorted."""
        return sorted(self.seeds)


def prepare() -> None:
    """The working folder's sound files; all modules are there before the first fork."""
    for module in pkgutil.walk_packages(q8tool.__path__, "q8tool."):
        if module.name not in ("q8tool.__main__", "q8tool.native._q8.abi3"):
            importlib.import_module(module.name)
    model = seeds.classifier()
    onnx.save(model, "sound.onnx")
    Path("sound.png").write_bytes(seeds.photos()["a.png"]())
    Path("weights.bin").write_bytes(bytes(4096))
    Path("link.bin").unlink(missing_ok=True)
    Path("link.bin").symlink_to("/etc/hostname")


def command(*words: str) -> Run:
    """A command; FILE among its words is the damaged file."""
    return lambda path, _: main([str(path) if word == "FILE" else word for word in words])


def any_of(*runs: Run) -> Run:
    """One of several."""
    return lambda path, random: runs[int(random.integers(len(runs)))](path, random)


def run_model(path: Path, random: Random) -> int:
    """A session runs the model on random numbers."""
    try:
        session = Session(path, threads=1)
        feeds = {}
        for info in session.inputs:
            dims = [d if isinstance(d, int) else 2 for d in info.shape or ()]
            if not info.is_tensor or info.dtype.kind not in "biuf" or np.prod(dims) > 1e6:
                return 0  # a caller's matter: he would have to have such an array
            feeds[info.name] = random.integers(0, 3, dims).astype(info.dtype)
        session.run(feeds)
    except Exception as error:
        return report.failure(error)
    return 0


def by_samples(*words: str) -> Run:
    """A command that reads three samples of random numbers for each input."""

    def run(path: Path, random: Random) -> int:
        arrays = {}
        for value in _inputs(path.read_bytes()):
            dims = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
            if min(dims, default=0) < 0 or math.prod(dims) > 1e6:
                return 0  # as above
            arrays[value.name] = random.integers(0, 3, (3, *dims)).astype(np.float32)
        np.savez("samples.npz", allow_pickle=False, **arrays)
        return command(*words, "--data", "samples.npz")(path, random)

    return run


def _inputs(data: bytes) -> list[onnx.ValueInfoProto]:
    """Of a damaged model, none where it is not to be read: the command says so itself."""
    graph = onnx.GraphProto()
    with contextlib.suppress(DecodeError):
        graph = onnx.ModelProto.FromString(data).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def run_kept_plan(path: Path, random: Random) -> int:
    """A session finds a damaged plan in its cache; the answer is the same as ever."""
    data = path.read_bytes()
    if random.random() < 0.7:  # whoever damaged it made the sum right
        data = data[:-32] + hashlib.sha256(data[:-32]).digest()
    feeds = {"x": np.ones((1, 3, 8, 8), np.float32)}
    try:
        (expected,) = Session(onnx.load("sound.onnx"), threads=1).run(feeds).values()
        for kept in _kept_plans():
            kept.write_bytes(data)
        (got,) = Session("sound.onnx", threads=1).run(feeds).values()
    except Exception as error:
        return report.failure(error)
    return 0 if got.shape == expected.shape else report.failure(InputError("another shape"))


def kept_plan() -> bytes:
    """A plan of the sound model."""
    session = Session("sound.onnx", threads=1)
    session.run({"x": np.ones((1, 3, 8, 8), np.float32)})
    return max((kept.read_bytes() for kept in _kept_plans()), key=len)


def kept_summary() -> bytes:
    """A summary of the sound model."""
    kept_plan()
    return min((kept.read_bytes() for kept in _kept_plans()), key=len)


def _kept_plans() -> list[Path]:
    return [path for path in Path("cache/plans").iterdir() if path.suffix != ".tmp"]


MODEL_RUNS: list[Run] = [
    run_model,
    command("inspect", "FILE"),
    command("freeze", "--input", "FILE", "--output", "out.onnx", "--force"),
    command("quantize", "--input", "FILE", "--output", "out.onnx", "--force"),
    command("strip-conversions", "--input", "FILE", "--output", "out.onnx", "--force"),
    command("label-image", "sound.png", "--graph", "FILE"),
    command("explain", "FILE"),
    command("compare", "sound.onnx", "FILE"),
]
TO_CODES = ("quantize", "--input", "FILE", "--output", "out.onnx", "--force", "--allow-slower")
NETWORK_RUNS: list[Run] = [
    by_samples(*TO_CODES),
    by_samples(*TO_CODES, "--format", "qoperator", "--per-tensor"),
    by_samples("calibrate", "--input", "FILE", "--output", "out.json", "--force"),
    command(*TO_CODES),
    command(*TO_CODES, "--mode", "weights"),
    command(*TO_CODES, "--mode", "simulate"),
]
QUANTIZE = ("quantize", "--input", "sound.onnx", "--output", "out.onnx", "--force")
FREEZE = ("freeze", "--input", "sound.onnx", "--output", "out.onnx", "--force")

TARGETS: dict[str, Target] = {
    "model": Target(
        seeds.models, damaged_model, any_of(run_model, run_model, *MODEL_RUNS)
    ),
    "network": Target(networks, damaged_model, any_of(run_model, *NETWORK_RUNS)),
    "operator": Target(operators, damaged_model, any_of(run_model, run_model, *MODEL_RUNS)),
    "photo": Target(
        seeds.photos, damaged_bytes, command("label-image", "FILE", "--graph", "sound.onnx")
    ),
    "ranges": Target(
        lambda: {"r.json": seeds.ranges}, damaged_text,
        any_of(
            command(*QUANTIZE, "--ranges", "FILE"),
            command("ranges", "merge", "FILE", "FILE", "--output", "out.json", "--force"),
        ),
    ),
    "recipe": Target(
        lambda: {"r.toml": seeds.recipe}, damaged_text, command(*QUANTIZE, "--recipe", "FILE"),
        allowed=(0, 2),  # options that do not exist, as on the command line
    ),
    "labels": Target(
        lambda: {"l.txt": seeds.labels}, damaged_text,
        command("label-image", "sound.png", "--graph", "sound.onnx", "--labels", "FILE"),
    ),
    "arrays": Target(
        lambda: {"a.npz": seeds.npz}, damaged_bytes, command(*QUANTIZE, "--data", "FILE")
    ),
    "checkpoint": Target(
        lambda: {"c.npz": seeds.npz_checkpoint, "c.safetensors": seeds.safetensors_checkpoint},
        damaged_bytes, command(*FREEZE, "--checkpoint", "FILE"),
    ),
    "plan": Target(
        lambda: {"plan.bin": kept_plan, "summary.bin": kept_summary}, damaged_bytes, run_kept_plan,
        allowed=(0, 2, 5),  # a forged summary may ask for other inputs than it is fed
    ),
}  # fmt: skip
