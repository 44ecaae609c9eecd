"""Train the small flower classifier that q8tool ships as its embedded default.

A development tool: it needs torch and onnxruntime, which the package does not. It writes one file,
`src/q8tool/data/flowers.onnx`, below 1 MB: a float32 network like MobileNet v1 (depthwise
separable convolutions, BatchNormalization left unfolded, Relu6) for daisy, dandelion, rose,
sunflower and tulip, started from random weights.

How data flows:

    photos of the training part --+
                                  +--> views (crop, rotate) --> teacher --> map, features
    drawings (seeds >= 1000) -----+         |                                 |       |
                                            v                                 |  five heads
                                         student <-- match map and features --+       |
                                            ^--------- soft labels, out of fold ------+
                                            |
    moving average of its weights --> best epoch on the validation part --> ONNX built by hand
        --> onnxruntime on the test part: float accuracy, then 8-bit as a plausibility check

A head is a logistic regression on the teacher's features; five of them, each fitted without one
fifth of the pictures, so that no picture gets its soft label from a head that has seen it.

The split is by a hash of "class/file name": 20 % test (nothing is trained or chosen on it), 8 %
validation, the rest training. The teacher is the MobileNet v1 0.75 of the data folder; only what
it answers is used, never its weights. A photo is preprocessed as a user of the file would: whole
picture to size x size with Pillow's bilinear filter ("stretch"), RGB, (pixel - 127.5) / 127.5.

    python tools/train_embedded_model.py --data ../shared/data

Same data, seed, library versions and kind of CPU: same bytes (one thread). Views and the teacher's
answers are cached under --cache; delete that folder after a change to views or teacher.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn
from torch.nn import functional

Array = NDArray[Any]

LABELS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
MEAN = STD = 127.5
TEACHER = "models/mobilenet_v1_0.75_224.onnx"
TEACHER_SIZE = 224
MAP_CHANNELS = 128
FIRST_TRAINING_SEED = 1000  # drawings with smaller seeds are for the demo and for tests
STEM = 16
# (channels out, stride) of each depthwise separable block
BLOCKS = ((24, 1), (48, 2), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1))
BN_EPSILON = 1e-3
FOLDS = 5
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Item:
    """One picture: its name ("class/file" or "drawn/class/seed"), class number and pixels."""

    key: str
    label: int
    image: Image.Image


@dataclass(frozen=True)
class Views:
    """Augmented copies of the items, `per_item` in a row for each, and the teacher's features."""

    pixels: Array  # uint8 (items * per_item, size, size, 3)
    features: Array  # float16 (items * per_item, teacher width), pooled
    maps: Array  # float16 (items * per_item, MAP_CHANNELS, 7, 7), before pooling, main components
    labels: Array  # int64 (items * per_item,)
    folds: Array  # int64, the same for all views of an item
    per_item: int


# ── data ──────────────────────────────────────────────────────────────────────────────────────


def say(text: object) -> None:
    """Print at once, also into a log file."""
    print(text, flush=True)


def hash_unit(text: str) -> float:
    """A number in [0, 1) that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def part_of(key: str) -> str:
    """Which part of the data a photo belongs to: "test", "validation" or "training"."""
    position = hash_unit(key)
    if position < 0.20:
        return "test"
    return "validation" if position < 0.28 else "training"


def load_photos(folder: Path) -> dict[str, list[Item]]:
    """Decode all photos of `folder`/class/*, grouped by part."""
    parts: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    for label, name in enumerate(LABELS):
        for path in sorted((folder / name).iterdir()):
            key = f"{name}/{path.name}"
            with Image.open(path) as image:
                parts[part_of(key)].append(Item(key, label, image.convert("RGB")))
    return parts


def load_drawings(count: int) -> list[Item]:
    """Draw `count` pictures of each class with the package's own painter."""
    spec = importlib.util.spec_from_file_location("draw", ROOT / "src/q8tool/image/draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = draw  # where its dataclasses look themselves up
    spec.loader.exec_module(draw)
    return [
        Item(f"drawn/{name}/{seed}", label, draw.draw_flower(name, seed, 227))
        for label, name in enumerate(LABELS)
        for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    ]


def stretch(image: Image.Image, size: int) -> Array:
    """The whole picture at size x size, uint8 HWC: what inference does before normalizing."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def normalize(pixels: Array) -> Array:
    """uint8 NHWC to the float32 NCHW that teacher and student take."""
    return np.ascontiguousarray((pixels.astype(np.float32) - MEAN).transpose(0, 3, 1, 2) / STD)


def make_view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random part of the picture, half of the time rotated, with its own shape kept."""
    if rng.random() < 0.5:
        fill = tuple(int(v) for v in np.asarray(image).mean((0, 1)))
        angle = float(rng.uniform(-25, 25))
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill)
    width, height = image.size
    area, aspect = rng.uniform(0.3, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    w, h = min(1.0, np.sqrt(area * aspect)) * width, min(1.0, np.sqrt(area / aspect)) * height
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    return image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR, box=box)


# ── teacher ───────────────────────────────────────────────────────────────────────────────────


def open_teacher(path: Path) -> ort.InferenceSession:
    """The teacher cut just before its global pooling, on one thread."""
    model = onnx.load(path)
    pool = next(n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    del model.graph.output[:]
    features = helper.make_tensor_value_info(pool.input[0], TensorProto.FLOAT, None)
    model.graph.output.append(features)
    return open_session(model.SerializeToString())


def open_session(model: bytes) -> ort.InferenceSession:
    """onnxruntime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_batched(session: ort.InferenceSession, pixels: Array) -> Array:
    """First output for uint8 NHWC pixels."""
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: normalize(pixels[i : i + 32])})[0]
        for i in range(0, len(pixels), 32)
    ]
    return np.concatenate(parts)


def make_views(items: list[Item], per_item: int, size: int, teacher: Path, cache: Path) -> Views:
    """Views of every item (the first is the plain picture) with the teacher's features, cached."""
    digest = hashlib.sha256(f"{per_item} {size}".encode())
    for item in items:
        digest.update(item.key.encode() + item.image.tobytes())
    path = cache / f"maps-{digest.hexdigest()[:16]}.npz"
    if path.exists():
        stored = np.load(path)
        pixels, features, maps = stored["pixels"], stored["features"], stored["maps"]
    else:
        pixels, features, maps = compute_views(items, per_item, size, open_teacher(teacher))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, pixels=pixels, features=features, maps=maps)
    labels = np.repeat(np.array([item.label for item in items], np.int64), per_item)
    folds = np.array([int(hash_unit("fold " + item.key) * FOLDS) for item in items])
    return Views(pixels, features, maps, labels, np.repeat(folds, per_item), per_item)


def fit_components(items: list[Item], teacher: ort.InferenceSession) -> tuple[Array, Array]:
    """Mean and main components (as columns) of the teacher's map, from every eighth picture.

    Each component is scaled by the root of its deviation, all together to a mean square of one.
    """
    plain = np.stack([stretch(item.image, TEACHER_SIZE) for item in items[::8]])
    points = np.moveaxis(run_batched(teacher, plain), 1, 3)
    points = points.reshape(-1, points.shape[3]).astype(np.float64)
    mean = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov(points.T))
    values, vectors = values[: -MAP_CHANNELS - 1 : -1], vectors[:, : -MAP_CHANNELS - 1 : -1]
    basis = vectors / values**0.25 / np.sqrt(np.sqrt(values).mean())
    return mean.astype(np.float32), basis.astype(np.float32)


def compute_views(
    items: list[Item], per_item: int, size: int, teacher: ort.InferenceSession
) -> tuple[Array, Array, Array]:
    """The uncached work of make_views: pixels for the student, the rest from the teacher."""
    count = len(items) * per_item
    pixels = np.empty((count, size, size, 3), np.uint8)
    maps = np.empty((count, MAP_CHANNELS, 7, 7), np.float16)
    features = []
    mean, basis = fit_components(items, teacher)
    started = time.time()
    for i, item in enumerate(items):
        rng = np.random.default_rng(int(hash_unit("view " + item.key) * 2**53))
        whole = item.image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR)
        views = [whole] + [make_view(item.image, rng) for _ in range(per_item - 1)]
        seen = run_batched(teacher, np.stack([np.asarray(view) for view in views]))
        features.append(seen.mean((2, 3)).astype(np.float16))
        mine = slice(i * per_item, (i + 1) * per_item)
        maps[mine] = np.moveaxis((np.moveaxis(seen, 1, 3) - mean) @ basis, 3, 1)
        views[0] = item.image
        pixels[mine] = np.stack([stretch(view, size) for view in views])
        if i % 200 == 0:
            say(f"views of {i} of {len(items)} pictures, {time.time() - started:.0f} s")
    return pixels, np.concatenate(features), maps


def fit_head(x: torch.Tensor, y: torch.Tensor, decay: float) -> nn.Linear:
    """Logistic regression by L-BFGS, deterministic from zero weights."""
    head = nn.Linear(x.shape[1], len(LABELS))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(x), y) + decay * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head


def soft_labels(x: torch.Tensor, views: Views, temperature: float) -> torch.Tensor:
    """Teacher's class probabilities; each picture is judged by a head that never saw it."""
    y, folds = torch.from_numpy(views.labels), torch.from_numpy(views.folds)
    soft = torch.empty(len(y), len(LABELS))
    for fold in range(FOLDS):
        mine = folds == fold
        head = fit_head(x[~mine], y[~mine], 1e-3)
        with torch.no_grad():
            soft[mine] = functional.softmax(head(x[mine]) / temperature, 1)
    agree = (soft.argmax(1) == y).float().mean()
    say(f"teacher's heads, out of fold, on views: {agree:.3f}")
    return soft


# ── student ───────────────────────────────────────────────────────────────────────────────────


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
    """Convolution without bias, BatchNorm, Relu6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=BN_EPSILON), nn.ReLU6(inplace=True)]


class Student(nn.Module):  # type: ignore[misc]  # torch's types are not installed
    """The network to ship, plus projections used only while matching the teacher's features."""

    def __init__(self, teacher_width: int, dropout: float) -> None:
        super().__init__()
        layers = conv_bn(3, STEM, 3, 2, 1)
        width = STEM
        for outputs, stride in BLOCKS:
            layers += conv_bn(width, width, 3, stride, width)
            layers += conv_bn(width, outputs, 1, 1, 1)
            width = outputs
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(LABELS))
        self.project = nn.Linear(width, teacher_width)
        self.project_map = nn.Conv2d(width, MAP_CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, and guesses of the teacher's standardized features and of its map."""
        seen = self.body(x)
        pooled = seen.mean((2, 3))
        return self.head(self.dropout(pooled)), self.project(pooled), self.project_map(seen)


def jitter(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random colour changes and one erased square per picture; x in [-1, 1], NCHW."""

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        shape = (len(x), channels, 1, 1)
        return torch.rand(shape, generator=generator) * (high - low) + low

    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.6, 1.4)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = middle + (x - middle) * uniform(0.7, 1.3)
    x = (x + uniform(-0.25, 0.25) + uniform(-0.08, 0.08, 3)).clamp(-1, 1)
    size = x.shape[2]
    line = torch.arange(size)
    near_row = (line.view(1, 1, size, 1) - uniform(0, size)).abs()
    near_column = (line.view(1, 1, 1, size) - uniform(0, size)).abs()
    half = uniform(0, 0.2) * size
    return torch.where((near_row < half) & (near_column < half), torch.zeros(()), x)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Index batches of one epoch in random order, the incomplete last one left out."""
    order = torch.randperm(count, generator=generator)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def update_average(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Exponential moving average of weights and BatchNorm statistics."""
    state = model.state_dict()  # detached: shares memory with the model, has no gradient
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(state[name], 1 - keep)


def accuracy_of(model: nn.Module, pixels: Array, labels: Array) -> float:
    """Share of right answers in evaluation mode."""
    model.eval()
    right = 0
    for i in range(0, len(pixels), 64):
        with torch.no_grad():
            logits, _, _ = model(torch.from_numpy(normalize(pixels[i : i + 64])))
        right += int((logits.argmax(1).numpy() == labels[i : i + 64]).sum())
    return right / len(pixels)


@dataclass(frozen=True)
class Targets:
    """What the student should answer for each view."""

    classes: torch.Tensor  # probabilities: soft and hard labels mixed
    features: torch.Tensor  # standardized
    views: Views

    def batch(
        self, chosen: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random views of the chosen items: indices, input pictures, the teacher's maps."""
        views = self.views
        view = torch.randint(views.per_item, (len(chosen),), generator=generator)
        index = chosen * views.per_item + view
        x = jitter(torch.from_numpy(normalize(views.pixels[index.numpy()])), generator)
        seen = torch.from_numpy(views.maps[index.numpy()]).float()
        flip = torch.rand((len(chosen), 1, 1, 1), generator=generator) < 0.5
        x, seen = torch.where(flip, x.flip(3), x), torch.where(flip, seen.flip(3), seen)
        return index, x.contiguous(memory_format=torch.channels_last), seen


def make_targets(views: Views, args: argparse.Namespace) -> Targets:
    """The teacher's answers in the form that the losses compare with."""
    features = torch.from_numpy(views.features.astype(np.float32))
    features = (features - features.mean(0)) / (features.std(0) + 1e-3)
    soft = soft_labels(features, views, args.temperature)
    hard = functional.one_hot(torch.from_numpy(views.labels), len(LABELS))
    return Targets(args.soft * soft + (1 - args.soft) * hard, features, views)


class Trainer:
    """The student, the moving average of its weights, and how they move on."""

    def __init__(self, targets: Targets, args: argparse.Namespace) -> None:
        self.targets, self.args = targets, args
        self.generator = torch.Generator().manual_seed(args.seed)
        model = Student(targets.features.shape[1], args.dropout)
        self.model = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.count = len(targets.features) // targets.views.per_item
        self.step, steps = 0, args.epochs * (self.count // args.batch)
        self.optimizer = torch.optim.AdamW(model.parameters(), weight_decay=args.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.learning_rate, total_steps=steps, pct_start=0.1
        )

    def loss(self, chosen: torch.Tensor) -> torch.Tensor:
        """Class, feature and map losses of one batch, summed with their weights."""
        index, x, seen = self.targets.batch(chosen, self.generator)
        logits, guess, guess_map = self.model(x)
        loss = functional.cross_entropy(logits, self.targets.classes[index])
        match = functional.mse_loss(guess, self.targets.features[index])
        match_map = functional.mse_loss(guess_map, seen)
        return loss + self.args.match * match + self.args.match_map * match_map

    def epoch(self) -> float:
        """Show every item once, in random order; returns the mean loss."""
        self.model.train()
        total = 0.0
        for chosen in batches(self.count, self.args.batch, self.generator):
            loss = self.loss(chosen)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            update_average(self.average, self.model, min(0.995, self.step / (self.step + 10)))
            total += float(loss.detach())
        return total / max(1, int(self.count) // int(self.args.batch))


def train(views: Views, validation: list[Item], args: argparse.Namespace) -> Student:
    """Train from random weights; returns the averaged weights of the best validated epoch."""
    trainer = Trainer(make_targets(views, args), args)
    pixels = np.stack([stretch(item.image, args.size) for item in validation])
    labels = np.array([item.label for item in validation])
    best: Student = copy.deepcopy(trainer.average)
    best_score, started = -1.0, time.time()
    for epoch in range(args.epochs):
        loss = trainer.epoch()
        score = accuracy_of(trainer.average, pixels, labels)
        if score >= best_score:
            best, best_score = copy.deepcopy(trainer.average), score
        seconds = time.time() - started
        say(f"epoch {epoch + 1} loss {loss:.3f} validation {score:.3f} {seconds:.0f} s")
    say(f"best validation {best_score:.3f}")
    return best


# ── ONNX ──────────────────────────────────────────────────────────────────────────────────────


class Builder:
    """Nodes and initializers in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        """Add a float32 initializer and return its name."""
        if isinstance(value, torch.Tensor):
            value = value.detach().contiguous().numpy()
        array = np.ascontiguousarray(value, np.float32).reshape(np.shape(value))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node with one output, named like the node."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv_bn(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        """Conv, BatchNormalization and Clip(0, 6) of one trained layer."""
        x = self.node(
            "Conv", name + "/conv", [x, self.constant(name + "/weight", conv.weight)],
            dilations=[1, 1], group=conv.groups, kernel_shape=list(conv.kernel_size),
            pads=list(conv.padding) * 2, strides=list(conv.stride),
        )  # fmt: skip
        statistics = [
            self.constant(f"{name}/{what}", value)
            for what, value in (
                ("gamma", norm.weight),
                ("beta", norm.bias),
                ("mean", norm.running_mean),
                ("variance", norm.running_var),
            )
        ]
        x = self.node("BatchNormalization", name + "/norm", [x, *statistics], epsilon=norm.eps)
        return self.node("Clip", name + "/relu6", [x, "zero", "six"])


def build_onnx(student: Student, size: int) -> onnx.ModelProto:
    """The student as a standard ONNX model (opset 13, IR 8), batch size free."""
    build = Builder()
    build.constant("zero", np.float32(0))
    build.constant("six", np.float32(6))
    layers = list(student.body)
    names = ["stem"]
    for i in range(len(BLOCKS)):
        names += [f"block{i + 1}/depthwise", f"block{i + 1}/pointwise"]
    x = "input"
    for i, name in enumerate(names):
        conv, norm = layers[3 * i], layers[3 * i + 1]
        x = build.conv_bn(name, x, conv, norm)
    x = build.node("GlobalAveragePool", "features/pool", [x])
    x = build.node("Flatten", "features", [x], axis=1)
    weight = build.constant("head/weight", student.head.weight)
    bias = build.constant("head/bias", student.head.bias)
    x = build.node("Gemm", "logits", [x, weight, bias], transB=1)
    build.node("Softmax", "probabilities", [x], axis=1)
    graph = helper.make_graph(
        build.nodes,
        "flowers",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(LABELS)])],
        build.initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="q8tool",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 13)],
        doc_string="Five flower classes; made by tools/train_embedded_model.py. Apache-2.0.",
    )
    helper.set_model_props(model, metadata(size))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(size: int) -> dict[str, str]:
    """Labels and preprocessing in the form label-image reads."""
    preprocess = {
        "size": [size, size],
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "layout": "NCHW",
        "channels": "RGB",
        "resize": "stretch",
    }
    return {"q8tool.labels": json.dumps(LABELS), "q8tool.preprocess": json.dumps(preprocess)}


# ── evaluation through the file ───────────────────────────────────────────────────────────────


def evaluate(model: bytes, items: list[Item], size: int) -> tuple[float, Array]:
    """Accuracy and confusion matrix (row: truth) in onnxruntime, from pictures to answers."""
    pixels = np.stack([stretch(item.image, size) for item in items])
    answers = run_batched(open_session(model), pixels).argmax(1)
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, ([item.label for item in items], answers), 1)
    return float(confusion.trace() / confusion.sum()), confusion


def quantize_with_onnxruntime(path: Path, items: list[Item], size: int) -> bytes:
    """A plain per-channel int8 version, to see that the float model is easy to quantize."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(items)

        def get_next(self) -> dict[str, Array] | None:
            item = next(self.rest, None)
            return None if item is None else {"input": normalize(stretch(item.image, size)[None])}

    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(folded))
        quantize_static(
            str(folded), str(quantized), Reader(), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return quantized.read_bytes()


def report(path: Path, parts: dict[str, list[Item]], size: int) -> None:
    """Print what src/q8tool/data/README.md states."""
    model = path.read_bytes()
    count = sum(int(np.prod(t.dims)) for t in onnx.load_from_string(model).graph.initializer)
    say(f"{path.name}: {len(model)} bytes, {count} numbers")
    say(f"sha256 {hashlib.sha256(model).hexdigest()}")
    score, confusion = evaluate(model, parts["test"], size)
    say(f"float accuracy on {len(parts['test'])} test photos: {score:.4f}")
    say(confusion)
    int8 = quantize_with_onnxruntime(path, parts["training"][::8], size)
    say(f"int8 by onnxruntime, same photos: {evaluate(int8, parts['test'], size)[0]:.4f}")


def parse_arguments() -> argparse.Namespace:
    """Command line; the defaults are what made the shipped file."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    data = os.environ.get("Q8_DATA", str(ROOT.parent / "shared/data"))
    cache = Path(tempfile.gettempdir()) / "q8tool-embedded-model"
    parser.add_argument("--data", type=Path, default=Path(data), help="has flowers/, models/")
    parser.add_argument("--cache", type=Path, default=cache, help="folder for views and features")
    parser.add_argument("--output", type=Path, default=ROOT / "src/q8tool/data/flowers.onnx")
    parser.add_argument("--size", type=int, default=112, help="input height and width")
    parser.add_argument("--views", type=int, default=12, help="augmented copies of each picture")
    parser.add_argument("--drawings", type=int, default=60, help="drawings of each class")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--soft", type=float, default=0.6, help="share of the soft labels")
    parser.add_argument("--temperature", type=float, default=1.5, help="of the soft labels")
    parser.add_argument("--match", type=float, default=1.0, help="weight of the feature match")
    parser.add_argument("--match-map", type=float, default=3.0, help="weight of the map match")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--evaluate-only", action="store_true", help="report on an existing file")
    return parser.parse_args()


def main() -> None:
    """Data, teacher, student, file, report."""
    args = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    parts = load_photos(args.data / "flowers")
    say({name: len(items) for name, items in parts.items()})
    if not args.evaluate_only:
        items = parts["training"] + load_drawings(args.drawings)
        views = make_views(items, args.views, args.size, args.data / TEACHER, args.cache)
        student = train(views, parts["validation"], args)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        model = build_onnx(student.eval(), args.size)
        args.output.write_bytes(model.SerializeToString(deterministic=True))
    report(args.output, parts, args.size)


if __name__ == "__main__":
    main()
