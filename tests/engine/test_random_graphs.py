"""Random graphs with conversions anywhere: the same bytes as onnxruntime's unfused operators.

Every scale is a power of two and every weight a small multiple of one, so that float32 holds each
sum exactly: fused or not, whatever the layout, there is only one right answer.
"""

from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime
from tests.graphs import f32, i64

MOST_VALUES = 64.0


class RandomGraph:
    """Grows a graph node by node; `live` holds the float values that further nodes may read."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}
        shape = (int(self.rng.integers(1, 3)), int(self.rng.integers(1, 9)), 8, 6)
        self.inputs = {"x": self.exact(shape, 1 / 8)}
        self.live: dict[str, tuple[int, ...]] = {"x": shape}

    def exact(self, shape: tuple[int, ...], step: float) -> Array:
        """Multiples of step, few enough for exact sums."""
        return np.asarray(self.rng.integers(-12, 13, shape) * step, np.float32)

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.nodes)}_{len(self.weights)}"

    def constant(self, array: Array) -> str:
        name = self.name("k")
        self.weights[name] = array
        return name

    def pick(self, rank: int | None = 4) -> str:
        names = [name for name, shape in self.live.items() if rank in (None, len(shape))]
        recent = names[-4:]
        return str(self.rng.choice(recent))

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        output = self.name("v")
        self.nodes.append(node(op, " ".join(inputs), output, **attributes))
        self.live[output] = shape
        return output

    # ---- one method per kind of node ----

    def convert(self) -> None:
        """QuantizeLinear -> DequantizeLinear; at times a second reader of the same codes."""
        x = self.pick(None)
        dtype = self.rng.choice(["uint8", "int8"])
        scale = self.constant(f32(2.0 ** self.rng.integers(-4, 0)))
        zero = self.constant(np.asarray(self.rng.integers(0, 100), dtype))
        codes = self.name("q")
        self.nodes.append(node("QuantizeLinear", f"{x} {scale} {zero}", codes))
        for _ in range(int(self.rng.integers(1, 3))):
            self.add("DequantizeLinear", [codes, scale, zero], self.live[x])

    def conv(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        is_depthwise = self.rng.random() < 0.3
        outputs = c if is_depthwise else int(self.rng.integers(1, 9))
        kernel = int(self.rng.choice([1, 3])) if min(h, w) >= 3 else 1
        shape = (outputs, 1 if is_depthwise else c, kernel, kernel)
        if self.rng.random() < 0.7:
            codes = self.constant(self.rng.integers(-6, 7, shape).astype(np.int8))
            scale = f32(2.0 ** self.rng.integers(-5, -3, outputs))
            zero = self.constant(np.zeros(outputs, np.int8))
            name = self.name("w")
            reads = f"{codes} {self.constant(scale)} {zero}"
            self.nodes.append(node("DequantizeLinear", reads, name, axis=0))
        else:
            name = self.constant(self.exact(shape, 1 / 32))
        inputs = [x, name]
        if self.rng.random() < 0.5:
            inputs.append(self.constant(self.exact((outputs,), 1 / 8)))
        y = self.add(
            "Conv",
            inputs,
            (n, outputs, h, w),
            pads=[kernel // 2] * 4,
            group=c if is_depthwise else 1,
        )
        self.bounded(y)

    def bounded(self, x: str) -> None:
        """Clip after what grows, so that numbers stay exact however long the graph."""
        low, high = self.constant(f32(-MOST_VALUES)), self.constant(f32(MOST_VALUES))
        shape = self.live.pop(x)
        y = self.add("Clip", [x, low, high], shape)
        # Back onto a coarse grid: the only place where rounding is allowed.
        scale, zero = self.constant(f32(0.5)), self.constant(np.asarray(0, np.int8))
        codes = self.name("q")
        if self.rng.random() < 0.8:
            self.live.pop(y)
            self.nodes.append(node("QuantizeLinear", f"{y} {scale} {zero}", codes))
            self.add("DequantizeLinear", [codes, scale, zero], shape)

    def unary(self) -> None:
        x = self.pick(None)
        op = str(self.rng.choice(["Relu", "Neg", "Abs", "LeakyRelu", "Identity"]))
        attributes = {"alpha": 0.25} if op == "LeakyRelu" else {}
        self.add(op, [x], self.live[x], **attributes)

    def binary(self) -> None:
        a = self.pick()
        shape = self.live[a]
        same = [name for name, other in self.live.items() if other == shape]
        b = str(self.rng.choice(same))
        if self.rng.random() < 0.3:
            b = self.constant(self.exact((shape[1], 1, 1), 0.5))
        y = self.add(str(self.rng.choice(["Add", "Sub"])), [a, b], shape)
        self.bounded(y)

    def scaled(self) -> None:
        x = self.pick()
        factor = self.constant(f32(2.0 ** self.rng.integers(-1, 2)))
        self.bounded(self.add("Mul", [x, factor], self.live[x]))

    def concat(self) -> None:
        a = self.pick()
        n, c, h, w = self.live[a]
        near = [s for s, d in self.live.items() if len(d) == 4 and (d[0], *d[2:]) == (n, h, w)]
        b = str(self.rng.choice(near))
        self.add("Concat", [a, b], (n, c + self.live[b][1], h, w), axis=1)

    def max_pool(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        shape = (n, c, h, w)
        self.add("MaxPool", [x], shape, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def average(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        if h % 2 == 0 and w % 2 == 0:
            shape = (n, c, h // 2, w // 2)
            self.add("AveragePool", [x], shape, kernel_shape=[2, 2], strides=[2, 2])

    def transpose(self) -> None:
        x = self.pick()
        order = [int(d) for d in self.rng.permutation(4)]
        shape = tuple(self.live[x][d] for d in order)
        self.add("Transpose", [x], shape, perm=order)

    def reshape(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        shape = (n, h, c, w) if self.rng.random() < 0.5 else (n, c, w, h)
        self.add("Reshape", [x, self.constant(i64(shape))], shape)

    def crop(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        if c > 1:
            inputs = [self.constant(i64(v)) for v in ([1], [c], [1])]
            self.add("Slice", [x, *inputs], (n, c - 1, h, w))

    def pad(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        pads = self.constant(i64([0, 0, 1, 0, 0, 0, 0, 1]))
        value = self.constant(f32(float(self.rng.choice([0.0, 0.25]))))
        self.add("Pad", [x, pads, value], (n, c, h + 1, w + 1))

    def resize(self) -> None:
        x = self.pick()
        n, c, h, w = self.live[x]
        if h * w < 200:
            scales = self.constant(f32([1, 1, 2, 2]))
            self.add("Resize", [x, "-", scales], (n, c, 2 * h, 2 * w), mode="nearest")

    def grow(self, steps: int) -> None:
        kinds = [
            self.convert, self.convert, self.convert, self.conv, self.conv, self.unary,
            self.binary, self.scaled, self.concat, self.max_pool, self.average, self.transpose,
            self.reshape, self.crop, self.pad, self.resize,
        ]  # fmt: skip
        for index in self.rng.integers(0, len(kinds), steps):
            kinds[index]()

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        return model_of(self.nodes, self.inputs, self.weights, outputs)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(3, 14), st.booleans())
def test_same_bytes_as_onnxruntime(seed: int, steps: int, observes: bool) -> None:
    graph = RandomGraph(seed)
    graph.grow(steps)
    values = [name for name in graph.live if name != "x"]
    if not values:
        return
    last = values[-1]
    everything = graph.model(list(dict.fromkeys([last, *values])))
    expected = run_onnxruntime(everything, graph.inputs)
    wanted = dict(zip([o.name for o in everything.graph.output], expected, strict=True))
    observed = values if observes else values[-3:]
    session = Session(graph.model([last]), 2, strict=True, observe=observed)
    for name, result in session.run(graph.inputs).items():
        np.testing.assert_array_equal(result, wanted[name], err_msg=f"{name} of seed {seed}")
