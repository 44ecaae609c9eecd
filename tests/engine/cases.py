"""Small float models, one per lowering and one per way that lowerings meet."""

from typing import Any

import numpy as np

from tests.build import Array, Case, node
from tests.graphs import f32

PICTURE = (2, 6, 9, 7)


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 3.0) -> Array:
    generator = np.random.default_rng(seed + 7 * len(shape) + sum(shape))
    return generator.uniform(low, high, shape).astype(np.float32)


def picture_case(name: str, op_type: str, opset: int = 17, **attributes: Any) -> Case:
    return Case(
        name, [node(op_type, "x", "y", **attributes)], {"x": numbers(*PICTURE)}, opset=opset
    )


def conv_cases() -> list[Case]:
    x = numbers(2, 6, 11, 10)
    cases = []
    variants: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
        "conv": ((8, 6, 3, 3), {"pads": [1, 1, 1, 1]}),
        "conv strides": ((8, 6, 3, 2), {"strides": [2, 3], "pads": [0, 1, 1, 0]}),
        "conv dilations": ((4, 6, 3, 3), {"dilations": [2, 2]}),
        "conv groups": ((4, 3, 3, 3), {"group": 2}),
        "conv depthwise": ((6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
        "conv depthwise twice": ((12, 1, 3, 3), {"group": 6}),
        "conv 1x1": ((5, 6, 1, 1), {}),
        "conv same upper": ((5, 6, 2, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        "conv same lower": ((5, 6, 2, 4), {"auto_pad": "SAME_LOWER"}),
        "conv valid": ((5, 6, 3, 3), {"auto_pad": "VALID"}),
    }
    for name, (shape, attributes) in variants.items():
        w, b = numbers(*shape, low=-1, high=1), numbers(shape[0])
        conv = node("Conv", "x w b", "c", **attributes)
        cases.append(Case(name, [conv], {"x": x}, {"w": w, "b": b}, {"w": 0}))
        relu = [conv, node("Relu", "c", "y")]
        cases.append(Case(f"{name} relu", relu, {"x": x}, {"w": w, "b": b}, {"w": 0}))
    w = numbers(8, 6, 3, 3, low=-1, high=1)
    limits = {"low": f32(-0.7), "high": f32(6)}
    clip = [node("Conv", "x w", "c"), node("Clip", "c low high", "y")]
    cases.append(Case("conv clip", clip, {"x": x}, {"w": w, **limits}, {"w": 0}))
    per_tensor = [node("Conv", "x w", "y")]
    cases.append(Case("conv per tensor", per_tensor, {"x": x}, {"w": w}, {"w": None}))
    line = {"x": numbers(2, 6, 17)}
    one = [node("Conv", "x w", "y", strides=[2], pads=[1, 0])]
    cases.append(Case("conv of a line", one, line, {"w": numbers(4, 6, 3)}, {"w": 0}))
    return [*cases, *transposed_conv_cases(x), *volume_cases()]


def transposed_conv_cases(x: Array) -> list[Case]:
    variants: dict[str, tuple[tuple[int, ...], dict[str, Any], int | None]] = {
        "convtranspose": ((6, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 1),
        "convtranspose output padding": (
            (6, 4, 3, 3),
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
            1,
        ),
        "convtranspose plain": ((6, 5, 2, 3), {}, 1),
        "convtranspose groups": ((6, 2, 3, 3), {"group": 3, "strides": [1, 2]}, None),
        "convtranspose groups per channel": ((6, 2, 3, 3), {"group": 3, "strides": [1, 2]}, 1),
        "convtranspose dilations": ((6, 4, 3, 3), {"dilations": [2, 2], "strides": [2, 1]}, 1),
        "convtranspose output shape": (
            (6, 4, 3, 3),
            {"strides": [2, 2], "output_shape": [22, 20]},
            1,
        ),
        "convtranspose same": ((6, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, 1),
    }
    return [
        Case(
            name,
            [node("ConvTranspose", "x w", "y", **attributes)],
            {"x": x},
            {"w": numbers(*shape, low=-1, high=1)},
            {"w": axis},
        )
        for name, (shape, attributes, axis) in variants.items()
    ]


def volume_cases() -> list[Case]:
    """Convolutions of (N, C, D, H, W)."""
    x = numbers(2, 6, 5, 6, 4)
    variants: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
        "conv volume": ("Conv", (8, 6, 3, 3, 2), {"pads": [1, 1, 1, 1, 1, 0]}),
        "conv volume strides": (
            "Conv",
            (8, 6, 2, 3, 2),
            {"strides": [2, 1, 2], "pads": [0, 1, 1, 2, 1, 0]},
        ),
        "conv volume dilations": ("Conv", (4, 6, 2, 2, 2), {"dilations": [3, 2, 1]}),
        "conv volume groups": ("Conv", (4, 3, 3, 3, 3), {"group": 2, "pads": [1] * 6}),
        "conv volume depthwise": ("Conv", (6, 1, 3, 3, 3), {"group": 6, "pads": [2] * 6}),
        "conv volume 1x1": ("Conv", (5, 6, 1, 1, 1), {}),
        "conv volume same": ("Conv", (5, 6, 2, 3, 4), {"auto_pad": "SAME_UPPER"}),
        "convtranspose volume": (
            "ConvTranspose",
            (6, 4, 3, 2, 3),
            {"strides": [2, 2, 1], "pads": [1, 0, 1, 1, 1, 0], "output_padding": [1, 0, 0]},
        ),
        "convtranspose volume groups": (
            "ConvTranspose",
            (6, 2, 2, 2, 2),
            {"group": 2, "strides": [1, 2, 2]},
        ),
        "convtranspose volume dilations": (
            "ConvTranspose",
            (6, 4, 2, 2, 2),
            {"dilations": [2, 1, 2], "strides": [2, 1, 1]},
        ),
    }
    return [
        Case(
            name,
            [node(op_type, "x w", "y", **attributes)],
            {"x": x},
            {"w": numbers(*shape, low=-1, high=1)},
            {"w": 0 if op_type == "Conv" else 1},
        )
        for name, (op_type, shape, attributes) in variants.items()
    ]


def product_cases() -> list[Case]:
    x, w, b = numbers(5, 12), numbers(12, 7, low=-1, high=1), numbers(7)
    wt = np.ascontiguousarray(w.T)
    deep = numbers(2, 3, 5, 12)
    weights = {"w": w, "b": b}
    add = [node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Relu", "a", "y")]
    left = [node("MatMul", "x w", "m"), node("Add", "b m", "y")]
    return [
        Case("gemm", [node("Gemm", "x w b", "y")], {"x": x}, weights, {"w": 1}),
        Case(
            "gemm transposed",
            [node("Gemm", "x w b", "y", transB=1)],
            {"x": x},
            {"w": wt, "b": b},
            {"w": 0},
        ),
        Case("gemm without bias", [node("Gemm", "x w", "y")], {"x": x}, {"w": w}, {"w": None}),
        Case("matmul", [node("MatMul", "x w", "y")], {"x": deep}, {"w": w}, {"w": 1}),
        Case("matmul add relu", add, {"x": deep}, weights, {"w": 1}),
        Case("matmul bias left", left, {"x": x}, weights, {"w": 1}),
        Case("matmul of a row", [node("MatMul", "x w", "y")], {"x": x[0]}, {"w": w}, {"w": 1}),
        Case(
            "matmul of tensors",
            [node("MatMul", "x z", "y")],
            {"x": deep, "z": numbers(2, 3, 12, 4)},
        ),
        Case("matmul broadcast", [node("MatMul", "x z", "y")], {"x": deep, "z": numbers(12, 4)}),
        Case(
            "matmul repeated",
            [node("MatMul", "x z", "y")],
            {"x": deep, "z": numbers(1, 3, 12, 4)},
        ),
    ]


def pool_cases() -> list[Case]:
    square: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    volume = {"x": numbers(2, 5, 4, 6, 7)}
    return [
        picture_case("maxpool", "MaxPool", **square, pads=[1, 1, 1, 1]),
        picture_case("maxpool ceil", "MaxPool", **square, ceil_mode=1),
        picture_case("maxpool dilated", "MaxPool", kernel_shape=[2, 2], dilations=[2, 1]),
        picture_case("maxpool same", "MaxPool", **square, auto_pad="SAME_UPPER"),
        picture_case("averagepool", "AveragePool", **square),
        picture_case("averagepool pads", "AveragePool", **square, pads=[1, 1, 1, 1]),
        picture_case(
            "averagepool counts pads",
            "AveragePool",
            **square,
            pads=[1, 1, 1, 1],
            count_include_pad=1,
        ),
        picture_case("averagepool ceil", "AveragePool", **square, ceil_mode=1),
        picture_case("global average", "GlobalAveragePool"),
        picture_case("global max", "GlobalMaxPool"),
        picture_case("mean of the picture", "ReduceMean", axes=[2, 3]),
        picture_case("mean of the picture, a row", "ReduceMean", axes=[2, 3], keepdims=0),
        picture_case("mean of channels", "ReduceMean", axes=[1]),
        picture_case("mean of channels and lines", "ReduceMean", axes=[1, 2], keepdims=0),
        Case(
            "maxpool of a line",
            [node("MaxPool", "x", "y", kernel_shape=[3], strides=[2])],
            {"x": numbers(2, 5, 13)},
        ),
        *(
            Case(f"{op} of a volume", [node(op, "x", "y", **attributes)], volume)
            for op, attributes in (
                ("MaxPool", {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1] * 6}),
                ("AveragePool", {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2]}),
                ("GlobalAveragePool", {}),
                ("GlobalMaxPool", {}),
                ("ReduceMean", {"axes": [2, 3, 4]}),
            )
        ),
    ]


def unary_cases() -> list[Case]:
    wide = {"x": numbers(3, 50, low=-6, high=6)}
    plain = ["Sigmoid", "Tanh", "Erf", "Neg", "Abs", "Softplus", "HardSwish", "Relu", "Exp"]
    cases = [Case(op.lower(), [node(op, "x", "y")], wide) for op in plain]
    cases += [
        Case("leaky relu", [node("LeakyRelu", "x", "y", alpha=0.1)], wide),
        Case("elu", [node("Elu", "x", "y", alpha=0.7)], wide),
        Case("selu", [node("Selu", "x", "y")], wide),
        Case("selu other", [node("Selu", "x", "y", alpha=1.2, gamma=0.8)], wide),
        Case("celu", [node("Celu", "x", "y", alpha=1.7)], wide),
        Case("mish", [node("Mish", "x", "y")], wide, opset=18),
        Case("softsign", [node("Softsign", "x", "y")], {"x": numbers(*PICTURE)}),
        Case("hard sigmoid", [node("HardSigmoid", "x", "y", alpha=0.3, beta=0.4)], wide),
        Case("gelu", [node("Gelu", "x", "y")], wide, opset=20),
        Case("gelu tanh", [node("Gelu", "x", "y", approximate="tanh")], wide, opset=20),
        Case("clip 6", [node("Clip", "x", "y", min=-1.0, max=2.0)], wide, opset=10),
        Case(
            "swish", [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")],
            {"x": numbers(*PICTURE)},
        ),
        Case(
            "hard swish in parts",
            [node("HardSigmoid", "x", "s", alpha=1 / 6, beta=0.5), node("Mul", "s x", "y")],
            wide,
        ),
        Case(
            "polynomial",
            [
                node("Add", "x three", "a"),
                node("Clip", "a zero six", "b"),
                node("Mul", "b x", "c"),
                node("Div", "c six", "y"),
            ],
            wide,
            {"three": f32(3), "six": f32(6), "zero": f32(0)},
        ),
    ]  # fmt: skip
    positive = {"x": numbers(3, 50, low=0.5, high=6)}
    cases += [
        Case(op.lower(), [node(op, "x", "y")], positive) for op in ("Sqrt", "Log", "Reciprocal")
    ]
    return cases


def binary_cases() -> list[Case]:
    a, b = numbers(2, 6, 5, 4), numbers(2, 6, 5, 4, seed=9, low=-1, high=5)
    shapes = {
        "same": b,
        "per channel": b[:1, :, :1, :1],
        "row": b[0, 0, :1],
        "gate": b[:, :, :1, :1],
    }
    cases = []
    for op in ("Add", "Sub", "Mul"):
        for name, other in shapes.items():
            inputs = {"x": a, "z": np.ascontiguousarray(other)}
            cases.append(Case(f"{op} {name}".lower(), [node(op, "x z", "y")], inputs))
        relu = [node(op, "x z", "s"), node("Relu", "s", "y")]
        cases.append(Case(f"{op} relu".lower(), relu, {"x": a, "z": b}))
    constant = {"z": b[0, :, :1, :1]}
    cases.append(Case("add constant", [node("Add", "x z", "y")], {"x": a}, constant, {"z": None}))
    cases.append(Case("min", [node("Min", "x z", "y")], {"x": a, "z": b}))
    cases.append(Case("mean of three", [node("Mean", "x z x", "y")], {"x": a, "z": b}))
    cases.append(Case("max of three", [node("Max", "x z x", "y")], {"x": a, "z": b}))
    cases.append(Case("div", [node("Div", "x z", "y")], {"x": a, "z": np.abs(b) + 1}))
    two = {"two": f32(2)}
    cases.append(Case("square", [node("Pow", "x two", "y")], {"x": a}, two))
    slope = {"slope": numbers(6, 1, 1, low=0, high=0.5)}
    prelu = [node("PRelu", "x slope", "y")]
    cases.append(Case("prelu", prelu, {"x": a}, slope))
    cases.append(Case("prelu of codes", prelu, {"x": a}, slope, {"slope": None}))
    turning = {"slope": numbers(6, 1, 1, low=-1.5, high=2)}
    cases.append(Case("prelu, any slope", prelu, {"x": a}, turning, {"slope": None}))
    clamped = [node("PRelu", "x slope", "p"), node("Clip", "p low high", "y")]
    ends = {"low": f32(-0.2), "high": f32(2)}
    cases.append(Case("prelu clip", clamped, {"x": a}, {**turning, **ends}, {"slope": None}))
    cases.append(Case("prelu of one slope", prelu, {"x": a}, {"slope": f32([0.3])}))
    return cases


def movement_cases() -> list[Case]:
    x = {"x": numbers(2, 6, 5, 4)}

    def with_ints(name: str, op: str, ints: dict[str, list[int]], **attributes: Any) -> Case:
        arrays = {key: np.asarray(values, np.int64) for key, values in ints.items()}
        reads = " ".join(["x", *ints])
        return Case(name, [node(op, reads, "y", **attributes)], x, arrays)

    pads = {"pads": [0, 0, 1, 2, 0, 0, 3, 1]}
    return [
        with_ints("reshape", "Reshape", {"s": [2, -1]}),
        with_ints("squeeze", "Unsqueeze", {"a": [0, 3]}),
        Case("flatten", [node("Flatten", "x", "y", axis=2)], x),
        Case("transpose", [node("Transpose", "x", "y", perm=[0, 2, 3, 1])], x),
        Case("transpose back", [node("Transpose", "x", "y", perm=[0, 3, 1, 2])], x),
        Case("transpose all", [node("Transpose", "x", "y")], x),
        with_ints("slice", "Slice", {"s": [1, -3], "e": [9, -1], "a": [1, 2]}),
        with_ints("slice steps", "Slice", {"s": [-1, 0], "e": [-9, 9], "a": [1, 3], "t": [-2, 2]}),
        Case(
            "split",
            [node("Split", "x s", "u v", axis=1), node("Concat", "v u", "y", axis=2)],
            {"x": numbers(2, 6, 5, 4)},
            {"s": np.asarray([3, 3], np.int64)},
        ),
        with_ints("pad", "Pad", pads),
        with_ints("pad edge", "Pad", pads, mode="edge"),
        with_ints("pad reflect", "Pad", {"pads": [0, 2, 1, 2, 0, 1, 3, 1]}, mode="reflect"),
        with_ints("pad negative", "Pad", {"pads": [0, -1, 1, 0, 0, 2, -1, 0]}),
        with_ints("expand", "Expand", {"s": [3, 2, 6, 5, 4]}),
        with_ints("tile", "Tile", {"r": [1, 2, 1, 3]}),
        with_ints("gather", "Gather", {"i": [3, -1, 0]}, axis=1),
        with_ints("gather table", "Gather", {"i": [1]}, axis=2),
        Case(
            "depth to space",
            [node("DepthToSpace", "x", "y", blocksize=2)],
            {"x": numbers(2, 8, 5, 4)},
        ),
        Case(
            "depth to space crd",
            [node("DepthToSpace", "x", "y", blocksize=2, mode="CRD")],
            {"x": numbers(2, 8, 5, 4)},
        ),
        Case(
            "space to depth",
            [node("SpaceToDepth", "x", "y", blocksize=2)],
            {"x": numbers(2, 3, 4, 6)},
        ),
        Case(
            "concat", [node("Concat", "x z", "y", axis=1)], {**x, "z": numbers(2, 3, 5, 4, low=-1)}
        ),
        Case(
            "concat rows", [node("Concat", "x z x", "y", axis=-2)], {**x, "z": numbers(2, 6, 1, 4)}
        ),
    ]


def resize_cases() -> list[Case]:
    cases = []
    modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    for mode in modes:
        for kind in ("nearest", "linear"):
            # Of lengths that are no whole numbers, onnxruntime's corners are not the standard's.
            smaller = 5 / 7 if mode == "align_corners" else 0.6
            for scale in ([1, 1, 2, 3], [1, 1, smaller, 0.5]):
                resize = node(
                    "Resize", "x - s", "y", mode=kind, coordinate_transformation_mode=mode
                )
                weights = {"s": np.asarray(scale, np.float32)}
                name = f"resize {kind} {mode} {float(scale[2]):.2}"
                cases.append(Case(name, [resize], {"x": numbers(2, 3, 7, 8)}, weights))
    for rounding in ("floor", "ceil", "round_prefer_ceil"):
        resize = node("Resize", "x - - z", "y", nearest_mode=rounding)
        weights = {"z": np.asarray([1, 3, 11, 5], np.int64)}
        cases.append(Case(f"resize {rounding}", [resize], {"x": numbers(1, 3, 7, 8)}, weights))
    # Exporters of opset 11 write what they leave out as empty arrays.
    resize = node("Resize", "x none none z", "y", nearest_mode="floor")
    weights = {"none": np.zeros(0, np.float32), "z": np.asarray([1, 3, 14, 16], np.int64)}
    x = {"x": numbers(1, 3, 7, 8)}
    cases.append(Case("resize of opset 11", [resize], x, weights, opset=11))
    return cases


def mixed_cases() -> list[Case]:
    x = {"x": numbers(1, 8, 12, 10)}
    w1, w2 = numbers(8, 8, 1, 1, low=-1, high=1), numbers(8, 1, 3, 3, low=-1, high=1)
    weights = {"w1": w1, "w2": w2, "b": numbers(8)}
    residual = [
        node("Conv", "x w1 b", "c"),
        node("Relu", "c", "r"),
        node("Conv", "r w2", "d", group=8, pads=[1, 1, 1, 1]),
        node("Add", "d x", "y"),
    ]
    squeeze = [
        node("Conv", "x w1", "c"),
        node("GlobalAveragePool", "c", "g"),
        node("Conv", "g w1 b", "h"),
        node("Sigmoid", "h", "s"),
        node("Mul", "c s", "y"),
    ]
    head = [
        node("GlobalAveragePool", "x", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f m", "l"),
        node("Softmax", "l", "y"),
    ]
    normalized = [
        node("Conv", "x w1", "c"),
        node("BatchNormalization", "c s b mean variance", "n"),
        node("Relu", "n", "y"),
    ]
    parameters = {
        "s": numbers(8, low=0.5, high=2),
        "mean": numbers(8),
        "variance": numbers(8, low=0.5, high=2),
    }
    attention = [
        node("Transpose", "x", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "x t", "q"),
        node("Softmax", "q", "p", axis=-1),
        node("MatMul", "p x", "y"),
    ]
    shuffle = [
        node("Reshape", "x five", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t four", "f"),
        node("Conv", "f w1", "y"),
    ]
    shapes = {"five": np.asarray([1, 2, 4, 12, 10]), "four": np.asarray([1, 8, 12, 10])}
    both = {"w1": 0, "w2": 0}
    before = {
        "relu": [node("Relu", "x", "m")],
        "maxpool": [node("MaxPool", "x", "m", kernel_shape=[2, 2])],
        "transpose": [node("Transpose", "x", "m", perm=[0, 1, 3, 2])],
        "sigmoid": [node("Sigmoid", "x", "m")],
        "two relus": [node("Relu", "x", "r"), node("Neg", "r", "n"), node("Neg", "n", "m")],
    }
    moved = [
        Case(f"{name} before conv", [*nodes, node("Conv", "m w1 b", "y")], x, weights, {"w1": 0})
        for name, nodes in before.items()
    ]
    return [
        *moved,
        Case("residual", residual, x, weights, both),
        Case("squeeze and excite", squeeze, x, {"w1": w1, "b": weights["b"]}, {"w1": 0}),
        Case("head", head, x, {"m": numbers(8, 5)}, {"m": 1}),
        Case(
            "conv batchnorm relu", normalized, x, {"w1": w1, "b": weights["b"], **parameters},
            {"w1": 0},
        ),
        Case("batchnorm alone", [node("BatchNormalization", "x s b mean variance", "y")], x,
             {"b": weights["b"], **parameters}),
        Case("attention", attention, x),
        Case("channel shuffle", shuffle, x, {"w1": w1, **shapes}, {"w1": 0}),
    ]  # fmt: skip


def float_only_cases() -> list[Case]:
    x = {"x": numbers(2, 6, 5, 4)}
    norm = {"s": numbers(4), "b": numbers(4)}
    wide = {"s": numbers(5, 4), "b": numbers(5, 4)}
    cases = [
        Case(f"softmax {axis}", [node("Softmax", "x", "y", axis=axis)], x) for axis in (0, 1, 2, -1)
    ]
    cases += [
        Case("softmax 11", [node("Softmax", "x", "y", axis=2)], x, opset=11),
        Case("logsoftmax", [node("LogSoftmax", "x", "y")], x),
        Case("layer norm", [node("LayerNormalization", "x s b", "y")], x, norm),
        Case("layer norm wide", [node("LayerNormalization", "x s b", "y", axis=2)], x, wide),
        Case("layer norm bare", [node("LayerNormalization", "x s", "y")], x, {"s": norm["s"]}),
        # Opset 9 has Upsample but no QuantizeLinear.
        Case(
            "upsample",
            [node("Upsample", "x s", "y", mode="nearest")],
            x,
            {"s": np.asarray([1, 1, 2, 2], np.float32)},
            opset=9,
        ),
        *channel_norm_cases(x),
        Case("floor", [node("Floor", "x", "y")], x),
        Case("ceil", [node("Ceil", "x", "y")], x),
        Case("round", [node("Round", "x", "y")], x),
    ]
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSumSquare"):
        for axes in ([1], [2, 3], [0, 2], [-1], [0, 1, 2, 3], [1, 3], [0, 2, 3]):
            for keepdims in (0, 1):
                reduce = node(op, "x", "y", axes=axes, keepdims=keepdims)
                cases.append(Case(f"{op} {axes} {keepdims}", [reduce], x))
    axes_input = {"a": np.asarray([1, 2])}
    cases.append(Case("reduce sum", [node("ReduceSum", "x a", "y")], x, axes_input))
    cases.append(Case("reduce all", [node("ReduceMax", "x", "y")], x))
    return cases


def channel_norm_cases(x: dict[str, Array]) -> list[Case]:
    each = {"s": numbers(6), "b": numbers(6)}
    both = [node("InstanceNormalization", "x s b", "n"), node("Conv", "n w", "y")]
    line = {"x": numbers(2, 6, 17)}
    return [
        Case("instance norm", [node("InstanceNormalization", "x s b", "y")], x, each),
        Case("instance norm of a line", [node("InstanceNormalization", "x s b", "y")], line, each),
        Case("instance norm conv", both, x, {**each, "w": numbers(4, 6, 1, 1)}),
    ]


FLOAT_CASES = [
    *conv_cases(),
    *product_cases(),
    *pool_cases(),
    *unary_cases(),
    *binary_cases(),
    *movement_cases(),
    *resize_cases(),
    *mixed_cases(),
    *float_only_cases(),
]
# Softmax and layer normalization have no eight-bit form; a whole block quantized only at its ends
# is float in between.
_FLOAT_ONLY = {case.name for case in float_only_cases()} | {"attention", "head"}
CODE_CASES = [case for case in FLOAT_CASES if case.name not in _FLOAT_ONLY]
