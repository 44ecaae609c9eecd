"""Every operator that quantize covers, each between two products: x -> product -> it -> product.

What feeds an eight-bit product is wanted in eight bits; alone at the end of a model it would
rightly stay float.
"""

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from tests.graphs import Array, f32, i64
from tests.graphs import random as seeded

__all__ = ["CASES", "Case"]

Weights = dict[str, Any]
_SEEDS = count(1000)


@dataclass(frozen=True)
class Case:
    """A model and what is to become of it.

    eight    operators of which every node reads and delivers codes, where data give ranges
    host     whether the engine may run a part of it in Python
    decibels  of signal over noise at least
    shape    of the input x;  words  what x counts if it holds indices instead of numbers
    """

    name: str
    body: str
    shape: tuple[int, ...]
    weights: dict[str, Array]
    eight: tuple[str, ...] = ()
    host: bool = False
    opset: int = 13
    words: int = 0
    decibels: float = 22.0


def numbers(*shape: int, scale: float = 1.0) -> Array:
    """No two of a case alike."""
    return seeded(*shape, seed=next(_SEEDS)) * np.float32(scale)


def picture(name: str, body: str, *eight: str, out: int = 16, **options: Any) -> Case:
    """a (1, 16, 10, 10) -> b (1, out, ...); keywords are weights, or fields of Case."""
    return _between(name, body, eight, (3, 3), (12, 12), out, options)


def line(name: str, body: str, *eight: str, out: int = 16, **options: Any) -> Case:
    """a (1, 16, 38) -> b (1, out, ...)."""
    return _between(name, body, eight, (3,), (40,), out, options)


def volume(name: str, body: str, *eight: str, out: int = 16, **options: Any) -> Case:
    """a (1, 16, 6, 7, 8) -> b (1, out, ...)."""
    return _between(name, body, eight, (1, 1, 1), (6, 7, 8), out, options)


def _between(
    name: str,
    body: str,
    eight: tuple[str, ...],
    kernel: tuple[int, ...],
    size: tuple[int, ...],
    out: int,
    options: dict[str, Any],
) -> Case:
    weights = {
        "first": numbers(16, 8, *kernel, scale=0.2),
        "last": numbers(8, out, *[1] * len(kernel), scale=0.3),
        **_taken(options),
    }
    text = f"a = Conv(x, first) {body} y = Conv(b, last)"
    return Case(name, text, (1, 8, *size), weights, eight, **options)


def rows(name: str, body: str, *eight: str, width: int = 16, **options: Any) -> Case:
    """a (6, 10, 16) -> b (..., width)."""
    weights = {
        "first": numbers(32, 16, scale=0.2),
        "last": numbers(width, 8, scale=0.3),
        **_taken(options),
    }
    text = f"a = MatMul(x, first) {body} y = MatMul(b, last)"
    shape = options.pop("shape", (6, 10, 32))
    return Case(name, text, shape, weights, eight, **options)


def _taken(options: dict[str, Any]) -> dict[str, Array]:
    """The arrays among the options: weights by name."""
    names = [name for name, value in options.items() if isinstance(value, np.ndarray)]
    return {name: options.pop(name) for name in names}


def convolutions() -> list[Case]:
    """Of one to three dimensions, in groups, transposed."""
    bias: Weights = {"v": numbers(16)}
    return [
        picture(
            "Conv", "b = Conv<pads=[1,1,1,1]>(a, w)", "Conv", w=numbers(16, 16, 3, 3, scale=0.1)
        ),
        picture(
            "Conv in groups", "b = Conv<group=4>(a, w)", "Conv", w=numbers(16, 4, 3, 3, scale=0.2)
        ),
        picture(
            "Conv depthwise", "b = Conv<group=16>(a, w)", "Conv", w=numbers(16, 1, 3, 3, scale=0.3)
        ),
        line("Conv 1-D", "b = Conv(a, w)", "Conv", w=numbers(16, 16, 3, scale=0.1)),
        volume(
            "Conv 3-D",
            "b = Conv<pads=[1,1,1,1,1,1]>(a, w)",
            "Conv",
            w=numbers(16, 16, 3, 3, 3, scale=0.1),
        ),
        picture(
            "ConvTranspose",
            "b = ConvTranspose<strides=[2,2]>(a, w, v)",
            "ConvTranspose",
            w=numbers(16, 16, 2, 2, scale=0.2),
            **bias,
        ),
        picture(
            "ConvTranspose in groups",
            "b = ConvTranspose<group=2>(a, w, v)",
            "ConvTranspose",
            w=numbers(16, 8, 3, 3, scale=0.2),
            **bias,
        ),
        line(
            "ConvTranspose 1-D",
            "b = ConvTranspose<strides=[2]>(a, w, v)",
            "ConvTranspose",
            w=numbers(16, 16, 3, scale=0.2),
            **bias,
        ),
        volume(
            "ConvTranspose 3-D",
            "b = ConvTranspose<strides=[2,1,2]>(a, w, v)",
            "ConvTranspose",
            w=numbers(16, 16, 2, 2, 2, scale=0.1),
            **bias,
        ),
    ]


def matrices() -> list[Case]:
    """Products of matrices and stacks of them."""
    square: Weights = {"w": numbers(16, 16, scale=0.3)}
    flat = (6, 32)
    bias: Weights = {"v": numbers(16)}
    return [
        rows(
            "Gemm", "b = Gemm<transB=1, alpha=0.5>(a, w, v)", "Gemm", **square, **bias, shape=flat
        ),
        rows(
            "Gemm with transA",
            "b = Gemm<transA=1>(a, w, v)",
            "Gemm",
            "Transpose",
            w=numbers(6, 16),
            **bias,
            shape=flat,
        ),
        rows("MatMul", "b = MatMul(a, w)", "MatMul", **square),
        rows(
            "MatMul, bias behind",
            "m = MatMul(a, w) s = Add(m, v) b = Relu(s)",
            "MatMul",
            **square,
            **bias,
        ),
        rows(
            "MatMul with stacked weights",
            "b = MatMul(a, w)",
            "MatMul",
            w=numbers(6, 16, 16, scale=0.3),
        ),
        rows(
            "MatMul with weights on the left",
            "b = MatMul(w, a)",
            "MatMul",
            w=numbers(10, 10, scale=0.3),
        ),
        rows(
            "MatMul of activations",
            "c = MatMul(x, w) d = Transpose<perm=[0,2,1]>(c) b = MatMul(a, d)",
            "MatMul",
            width=10,
            w=numbers(32, 16, scale=0.2),
        ),
        Case(
            "weights read twice",
            "a = MatMul(x, w) c = Relu(a) b = MatMul(c, w) y = MatMul(b, w)",
            (6, 16),
            {"w": numbers(16, 16, scale=0.3)},
            ("MatMul",),
            decibels=18,
        ),
        Case(
            "weights in half precision",
            "f = Cast<to=1>(w) a = MatMul(x, f) g = Cast<to=1>(v) y = MatMul(a, g)",
            flat,
            {"w": numbers(32, 16).astype(np.float16), "v": numbers(16, 8).astype(np.float16)},
            ("MatMul",),
        ),
        Case(
            "embeddings",
            "a = Gather(t, x) c = MatMul(a, w) y = MatMul(c, v)",
            (1, 10),
            {"t": numbers(100, 32), "w": numbers(32, 16, scale=0.2), "v": numbers(16, 8)},
            ("MatMul",),
            words=100,
        ),
    ]


def two_tensors() -> list[Case]:
    """Operators of two tensors, each the result of a convolution."""
    other: Weights = {"w": numbers(16, 8, 3, 3, scale=0.2)}
    second = "c = Conv(x, w) "
    channels: Weights = {"k": numbers(1, 16, 1, 1)}
    return [
        picture("Add", f"{second} b = Add(a, c)", "Add", **other),
        picture("Add, then Relu", f"{second} s = Add(a, c) b = Relu(s)", "Add", **other),
        picture("Add a constant", "s = Sigmoid(a) b = Add(s, k)", "Add", **channels),
        picture("Sub", f"{second} b = Sub(a, c)", "Sub", **other),
        picture("Mul", f"{second} b = Mul(a, c)", "Mul", **other, decibels=22),
        picture("Mul by a constant", "s = Sigmoid(a) b = Mul(s, k)", "Mul", **channels),
        picture("Sum", f"{second} b = Sum(a, c)", "Add", **other),
        picture("Concat", f"{second} b = Concat<axis=1>(a, c)", "Concat", out=32, **other),
        picture(
            "squeeze and excite",
            "p = GlobalAveragePool(a) e = Conv(p, w) g = Sigmoid(e) b = Mul(a, g)",
            "GlobalAveragePool",
            "Sigmoid",
            "Mul",
            w=numbers(16, 16, 1, 1),
        ),
    ]


def functions() -> list[Case]:
    """Elementwise functions of one tensor: tables."""
    gelu = "c = Div(a, r) d = Erf(c) e = Add(d, one) f = Mul(a, e) b = Mul(f, half)"
    numbers_of_gelu: Weights = {"r": f32(2**0.5), "one": f32(1), "half": f32(0.5)}
    pooled = "p = MaxPool<kernel_shape=[2,2]>(a) "
    found = [
        picture("Relu", f"{pooled} b = Relu(p)", "Relu"),
        picture("Clip", f"{pooled} b = Clip(p, low, high)", "Clip", low=f32(0), high=f32(0.6)),
        picture("LeakyRelu", "b = LeakyRelu<alpha=0.1>(a)", "LeakyRelu"),
        picture("PRelu of one slope", "b = PRelu(a, s)", "PRelu", s=f32([0.2])),
        picture("PRelu", "b = PRelu(a, s)", "PRelu", s=np.abs(numbers(16, 1, 1, scale=0.3))),
        picture(
            "PRelu with negative slopes", "b = PRelu(a, s)", "PRelu", s=numbers(16, 1, 1, scale=0.3)
        ),
        picture("HardSwish", "b = HardSwish(a)", "HardSwish", opset=14),
        picture("SiLU", "s = Sigmoid(a) b = Mul(a, s)", "Sigmoid"),
        picture("GELU", gelu, "Div", **numbers_of_gelu),
        picture("Mish", "s = Softplus(a) t = Tanh(s) b = Mul(a, t)", "Softplus"),
        picture("square", "b = Pow(a, two)", "Pow", two=f32(2), decibels=20),
        picture("at least", "b = Max(a, k)", "Max", k=f32(-0.5)),
        picture("Sqrt", "r = Relu(a) b = Sqrt(r)", "Sqrt"),
        picture("Exp", "t = Tanh(a) b = Exp(t)", "Tanh"),
    ]
    return [
        *found,
        *(
            picture(op, f"b = {op}(a)", op)
            for op in ("HardSigmoid", "Sigmoid", "Tanh", "Elu", "Softplus", "Abs", "Neg")
        ),
    ]


def pools() -> list[Case]:
    """Windows, and means over dimensions."""
    two, three = "kernel_shape=[2,2], strides=[2,2]", "kernel_shape=[2,2,2], strides=[2,2,2]"
    return [
        picture("MaxPool", f"b = MaxPool<{two}>(a)", "MaxPool"),
        line("MaxPool 1-D", "b = MaxPool<kernel_shape=[2]>(a)", "MaxPool"),
        volume("MaxPool 3-D", f"b = MaxPool<{three}>(a)", "MaxPool"),
        picture("AveragePool", f"b = AveragePool<{two}>(a)", "AveragePool"),
        line("AveragePool 1-D", "b = AveragePool<kernel_shape=[2]>(a)", "AveragePool"),
        volume("AveragePool 3-D", f"b = AveragePool<{three}>(a)", "AveragePool"),
        picture("GlobalAveragePool", "b = GlobalAveragePool(a)", "GlobalAveragePool"),
        line("GlobalAveragePool 1-D", "b = GlobalAveragePool(a)", "GlobalAveragePool"),
        volume("GlobalAveragePool 3-D", "b = GlobalAveragePool(a)", "GlobalAveragePool"),
        picture("GlobalMaxPool", "b = GlobalMaxPool(a)", "GlobalMaxPool"),
        picture("ReduceMean", "b = ReduceMean<axes=[2,3]>(a)", "ReduceMean"),
        picture(
            "ReduceMean, dimensions dropped",
            "r = ReduceMean<axes=[2,3], keepdims=0>(a) b = Unsqueeze(r, e)",
            "ReduceMean",
            "Unsqueeze",
            e=i64([2, 3]),
        ),
        rows("ReduceMean of rows", "b = ReduceMean<axes=[1]>(a)", "ReduceMean"),
        rows(
            "ReduceMean of rows, dropped", "b = ReduceMean<axes=[1], keepdims=0>(a)", "ReduceMean"
        ),
    ]


def movements() -> list[Case]:
    """Data movement: it works on the codes themselves, no conversion is left around it."""
    pads: Weights = {"p": i64([0, 0, 1, 1, 0, 0, 1, 1])}
    twice: Weights = {"s": f32([1, 1, 2, 2])}
    cut: Weights = {"st": i64([1, 2]), "en": i64([9, 8]), "ax": i64([2, 3])}
    shuffled: Weights = {"s1": i64([1, 2, 8, 10, 10]), "s2": i64([1, 16, 10, 10])}
    shuffle = "c = Reshape(a, s1) d = Transpose<perm=[0,2,1,3,4]>(c) b = Reshape(d, s2)"
    return [
        picture("Split", "b, c = Split<axis=1>(a)", "Split", out=8),
        picture(
            "Split, both read", "c, d = Split<axis=1>(a) b = Mul(c, d)", "Split", out=8, decibels=20
        ),
        picture("Slice", "b = Slice(a, st, en, ax)", "Slice", **cut),
        picture("Slice with steps", "b = Slice(a, st, en, ax, sp)", "Slice", **cut, sp=i64([2, 2])),
        picture("Pad", "b = Pad(a, p)", "Pad", **pads),
        picture("Pad, reflected", 'b = Pad<mode="reflect">(a, p)', "Pad", **pads),
        picture("Resize nearest", 'b = Resize<mode="nearest">(a, , s)', "Resize", **twice),
        picture("Resize linear", 'b = Resize<mode="linear">(a, , s)', "Resize", **twice),
        picture("Resize cubic", 'b = Resize<mode="cubic">(a, , s)', **twice, host=True),
        picture("Transpose", "b = Transpose<perm=[0,1,3,2]>(a)", "Transpose"),
        picture("Reshape", "b = Reshape(a, s)", "Reshape", s=i64([1, 16, 5, 20])),
        rows("Flatten", "b = Flatten(a)", "Flatten", width=160),
        rows("Squeeze", "b = Squeeze(a, e)", "Squeeze", shape=(1, 10, 32), e=i64([0])),
        rows("Unsqueeze", "b = Unsqueeze(a, e)", "Unsqueeze", e=i64([0])),
        picture(
            "Gather channels", "b = Gather<axis=1>(a, i)", "Gather", out=4, i=i64([3, 1, 0, 7])
        ),
        rows("Gather one token", "b = Gather<axis=1>(a, i)", "Gather", i=i64(0)),
        picture("DepthToSpace", "b = DepthToSpace<blocksize=2>(a)", "DepthToSpace", out=4),
        picture("SpaceToDepth", "b = SpaceToDepth<blocksize=2>(a)", "SpaceToDepth", out=64),
        picture(
            "Expand", "c = GlobalAveragePool(a) b = Expand(c, s)", "Expand", s=i64([1, 16, 4, 4])
        ),
        picture("Tile", "b = Tile(a, s)", "Tile", s=i64([1, 1, 2, 1])),
        picture("channel shuffle", shuffle, "Reshape", "Transpose", **shuffled),
    ]


def float_by_design() -> list[Case]:
    """What loses too much in eight bits, or has no such form: its neighbours are eight-bit."""
    wide: Weights = {"s": numbers(16), "v": numbers(16)}
    recurrent: dict[str, Any] = {"shape": (10, 2, 32)}
    lstm: Weights = {
        "w": numbers(1, 64, 16, scale=0.2),
        "r": numbers(1, 64, 16, scale=0.2),
        "v": numbers(1, 128),
    }
    gru: Weights = {
        "w": numbers(1, 48, 16, scale=0.2),
        "r": numbers(1, 48, 16, scale=0.2),
        "v": numbers(1, 96),
    }
    other: Weights = {"w": numbers(16, 8, 3, 3, scale=0.2)}
    branches = """s = ReduceSum<keepdims=0>(a) z = Greater(s, k)
        b = If(z) <then_branch = t () => (float[6,10,16] u) { u = MatMul(a, wt) },
                   else_branch = e () => (float[6,10,16] v) { v = MatMul(a, we) }>"""
    loop = """l = Loop(n, t, a) <body = step (int64 i, bool c, float[6,10,16] h)
        => (bool d, float[6,10,16] g) { d = Identity(c) m = MatMul(h, w) g = Tanh(m) }>
        b = Reshape(l, s)"""
    turns: Weights = {
        "n": i64(3),
        "t": np.asarray(True),
        "s": i64([6, 10, 16]),
        "w": numbers(16, 16, scale=0.3),
    }
    inside: Weights = {
        "k": f32(0),
        "wt": numbers(16, 80, scale=0.2)[:, :16],
        "we": numbers(16, 16, scale=0.2),
    }
    return [
        rows("Softmax", "b = Softmax<axis=-1>(a)", "MatMul"),
        rows("LayerNormalization", "b = LayerNormalization(a, s, v)", "MatMul", opset=17, **wide),
        picture("InstanceNormalization", "b = InstanceNormalization(a, s, v)", "Conv", **wide),
        picture("Div", "c = Conv(x, w) d = Exp(c) b = Div(a, d)", "Conv", **other, decibels=15),
        picture("Min of two", "c = Conv(x, w) b = Min(a, c)", "Conv", **other),
        picture(
            "Pad with another number",
            "b = Pad(a, p, n)",
            "Conv",
            p=i64([0, 0, 1, 1, 0, 0, 1, 1]),
            n=f32(0.5),
        ),
        rows(
            "LSTM",
            "l, , = LSTM<hidden_size=16>(a, w, r, v) b = Squeeze(l, e)",
            "MatMul",
            **lstm,
            e=i64([1]),
            **recurrent,
        ),
        rows(
            "GRU",
            "l, = GRU<hidden_size=16, linear_before_reset=1>(a, w, r, v) b = Squeeze(l, e)",
            "MatMul",
            **gru,
            e=i64([1]),
            **recurrent,
        ),
        rows("If", branches, **inside, host=True),
        rows("Loop", loop, **turns, host=True),
    ]


CASES = [
    *convolutions(),
    *matrices(),
    *two_tensors(),
    *functions(),
    *pools(),
    *movements(),
    *float_by_design(),
]
