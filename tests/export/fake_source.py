"""A source without a framework: it runs in NumPy, and its conversions are written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedl.export.interface import DynamicAxis, with_dynamic
from edgedl.export.sources import Conversion
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec

FEATURES, CLASSES = 6, 5
CELLS = 3
X = TensorSpec("x", "float32", ("batch", FEATURES))
IMAGE = TensorSpec("image", "float32", ("batch", 1, 6, 6))
SEQUENCE = TensorSpec("x", "float32", ("batch", "time", FEATURES))
H = TensorSpec("h", "float32", (1, "batch", CELLS))
C = TensorSpec("c", "float32", (1, "batch", CELLS))

Build = Callable[[int], onnx.ModelProto]


@dataclass(frozen=True)
class FakeSource:
    """A trained model: its inputs, its outputs' names, its answers and its conversions."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    answer: Callable[[Arrays], tuple[Array, ...]]
    ways: tuple[Conversion, ...]
    framework: str = "fake"
    distributions: tuple[str, ...] = ("pytest",)

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        return with_dynamic(self.inputs, dynamic)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        return self.outputs, self.answer(feeds)

    def conversions(self) -> tuple[Conversion, ...]:
        return self.ways


def way(build: Build, name: str = "by hand") -> Conversion:
    """A conversion that builds a graph for the opset it is asked for."""
    return Conversion(name, "for a test", lambda interface, example, opset: build(opset or 17))


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    constants: Mapping[str, Array],
    opset: int = 17,
) -> onnx.ModelProto:
    """A graph of float tensors."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


KERNEL = normal(1, FEATURES, CLASSES)
BIAS = normal(2, CLASSES)


def dense_graph(opset: int = 17, kernel: Array = KERNEL, bias: Array = BIAS) -> onnx.ModelProto:
    """x -> MatMul -> Add -> logits."""
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    constants = {"kernel": kernel, "bias": bias}
    return model(nodes, {"x": X.shape}, {"logits": ["batch", CLASSES]}, constants, opset)


def baked_graph(opset: int = 17, rows: int = 4) -> onnx.ModelProto:
    """The dense graph with a batch size fixed inside."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["fixed"]),
        helper.make_node("MatMul", ["fixed", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    constants = {"kernel": KERNEL, "bias": BIAS, "shape": np.array([rows, FEATURES], np.int64)}
    return model(nodes, {"x": X.shape}, {"logits": ["batch", CLASSES]}, constants, opset)


def dense_answer(x: Array, kernel: Array = KERNEL, bias: Array = BIAS) -> Array:
    return x @ kernel + bias


def dense_source(*ways: Conversion, kernel: Array = KERNEL) -> FakeSource:
    """A dense layer; converted rightly where no other way is given."""
    return FakeSource(
        (X,),
        ("logits",),
        lambda feeds: (dense_answer(feeds["x"], kernel),),
        ways or (way(lambda opset: dense_graph(opset, kernel)),),
    )


FILTERS = normal(3, 4, 1, 3, 3)
HEAD = normal(4, 64, CLASSES)


def conv_graph(opset: int = 17) -> onnx.ModelProto:
    """image -> Conv -> Relu -> Flatten -> Gemm -> logits."""
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["convolved"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["convolved"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"]),
    ]
    constants = {"filters": FILTERS, "head": HEAD, "bias": BIAS}
    return model(nodes, {"image": IMAGE.shape}, {"logits": ["batch", CLASSES]}, constants, opset)


def conv_answer(image: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), (2, 3))
    convolved = np.einsum("bcijkl,fckl->bfij", windows, FILTERS)
    flat = np.maximum(convolved, 0).reshape(len(image), -1)
    return np.asarray(flat @ HEAD + BIAS, np.float32)


def conv_source() -> FakeSource:
    """A convolution and a dense layer."""
    return FakeSource(
        (IMAGE,), ("logits",), lambda feeds: (conv_answer(feeds["image"]),), (way(conv_graph),)
    )


LSTM_W = normal(5, 1, 4 * CELLS, FEATURES)
LSTM_R = normal(6, 1, 4 * CELLS, CELLS)
LSTM_OUT = normal(7, CELLS, CLASSES)


def lstm_graph(opset: int = 17) -> onnx.ModelProto:
    """x, h, c -> LSTM over time -> MatMul -> logits, and the next h and c."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["by_time", "w", "r", "", "", "h", "c"], ["states", "hn", "cn"],
            hidden_size=CELLS,
        ),
        helper.make_node("Squeeze", ["states", "direction"], ["squeezed"]),
        helper.make_node("Transpose", ["squeezed"], ["by_batch"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["by_batch", "out"], ["logits"]),
    ]  # fmt: skip
    constants = {"w": LSTM_W, "r": LSTM_R, "out": LSTM_OUT, "direction": np.array([1], np.int64)}
    inputs = {spec.name: spec.shape for spec in (SEQUENCE, H, C)}
    outputs = {"logits": ["batch", "time", CLASSES], "hn": H.shape, "cn": C.shape}
    return model(nodes, inputs, outputs, constants, opset)


def lstm_answer(x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """Logits (batch, time, classes) and the next h and c, gates in ONNX's order i, o, f, c."""
    h, c, logits = h[0], c[0], []
    for step in range(x.shape[1]):
        gates = np.split(x[:, step] @ LSTM_W[0].T + h @ LSTM_R[0].T, 4, axis=-1)
        i, o, f = (1 / (1 + np.exp(-gate)) for gate in gates[:3])
        c = f * c + i * np.tanh(gates[3])
        h = o * np.tanh(c)
        logits.append(h @ LSTM_OUT)
    return np.stack(logits, 1), h[None], c[None]


def lstm_source() -> FakeSource:
    """A stateful LSTM whose outputs `h` and `c` are its inputs' next values."""
    return FakeSource(
        (SEQUENCE, H, C),
        ("logits", "h", "c"),
        lambda feeds: lstm_answer(feeds["x"], feeds["h"], feeds["c"]),
        (way(lstm_graph),),
    )
