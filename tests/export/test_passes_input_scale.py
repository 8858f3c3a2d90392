"""A constant factor folded into weights: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.passes.input_scale import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

IMAGE = ("batch", 2, 6, 6)
FACTOR = np.float32(0.25)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def model(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **constants: Any) -> Any:
    known = {
        "f": FACTOR, "w": normal(1, 3, 2, 3, 3), "b": normal(2, 3), "flat": np.array([-1, 72]),
        "dense": normal(3, 72, 4), "denset": normal(3, 4, 72), "bias": normal(4, 4), **constants,
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    kept = {name: np.asarray(array) for name, array in known.items() if name in used}
    return graph(nodes, {"x": ("float32", IMAGE)}, outputs, kept)


def feeds() -> list[Any]:
    return [{"x": normal(batch, batch, 2, 6, 6)} for batch in (1, 3)]


MUL = node("Mul", "x f", "s")
CONV = node("Conv", "s w b", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ((MUL, CONV), ["Conv"]),
        ((node("Mul", "f x", "s"), CONV), ["Conv"]),
        ((node("Div", "x f", "s"), CONV), ["Conv"]),
        ((MUL, node("Reshape", "s flat", "r"), node("MatMul", "r dense", "y")),
         ["Reshape", "MatMul"]),
        ((MUL, node("Transpose", "s", "t", perm=[0, 2, 3, 1]), node("Flatten", "t", "r"),
          node("Gemm", "r denset bias", "y", transB=1, alpha=0.5)),
         ["Transpose", "Flatten", "Gemm"]),
    ],
)  # fmt: skip
def test_folded(nodes: tuple[onnx.NodeProto, ...], left: list[str]) -> None:
    assert operators(assert_kept(run, model(*nodes), *feeds())) == left


def test_weights_of_another_layer_stay() -> None:
    other = node("Conv", "x w b", "z", kernel_shape=[3, 3])
    assert_kept(run, model(MUL, CONV, other, outputs=("y", "z")), *feeds())


@pytest.mark.parametrize(
    ("nodes", "more"),
    [
        ((MUL, CONV), {"outputs": ("y", "s")}),
        ((MUL, CONV, node("Relu", "s", "z")), {"outputs": ("y", "z")}),
        ((MUL, node("Relu", "s", "r"), node("Conv", "r w b", "y", kernel_shape=[3, 3])), {}),
        ((MUL, CONV), {"f": normal(5, 2, 1, 1)}),
        ((MUL, CONV), {"f": np.float32(0)}),
        ((node("Div", "f x", "s"), CONV), {}),
        ((node("Add", "x f", "s"), CONV), {}),
    ],
)
def test_left_alone(nodes: tuple[onnx.NodeProto, ...], more: dict[str, Any]) -> None:
    assert_left_alone(run, model(*nodes, **more))


def test_a_factor_on_the_weights_side_is_left_alone() -> None:
    nodes = [node("Mul", "x f", "s"), node("MatMul", "a s", "y")]
    inputs = {"x": ("float32", (6, 4)), "a": ("float32", (3, 6))}
    assert_left_alone(run, graph(nodes, inputs, ["y"], {"f": np.asarray(FACTOR)}))
