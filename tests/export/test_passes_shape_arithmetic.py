"""Computed shapes as constants: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.passes.shape_arithmetic import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

HEADS, TIME, SIZE = 2, 5, 4


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def model(
    *nodes: onnx.NodeProto, shape: tuple[Any, ...] = ("batch", HEADS, TIME, SIZE), opset: int = 17,
    **constants: Any,
) -> onnx.ModelProto:  # fmt: skip
    known = {
        "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "three": np.array([3]),
        "first": np.array([0, 1]), "free": np.array([-1]), "size": np.array([SIZE]),
        "number": np.array(HEADS), **constants,
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    kept = {name: array for name, array in known.items() if name in used}
    return graph(nodes, {"x": ("float32", shape)}, ["y"], kept, opset)


SHAPE = node("Shape", "x", "shape")
RESHAPE = node("Reshape", "x target", "y")


def feeds(*batches: int, time: int = TIME) -> list[Any]:
    return [{"x": normal(b, b, HEADS, time, SIZE)} for b in batches]


@pytest.mark.parametrize(
    "arithmetic",
    [
        # batch and heads on one axis, as tf2onnx writes an einsum
        (node("Gather", "shape first", "outer"), node("ReduceProd", "outer", "rows"),
         node("Concat", "rows free size", "target", axis=0)),
        (node("Slice", "shape zero one", "b"), node("Mul", "b two", "rows"),
         node("Concat", "rows free size", "target", axis=0)),
        (node("Slice", "shape zero one", "b"), node("Squeeze", "b", "s"),
         node("Mul", "s number", "m"), node("Unsqueeze", "m zero", "rows"),
         node("Concat", "rows free size", "target", axis=0)),
        # batch stays where it is, another axis is free
        (node("Slice", "shape zero one", "b"), node("Concat", "b two free size", "target", axis=0)),
        (node("Slice", "shape zero three", "b"), node("Concat", "b free two", "target", axis=0)),
    ],
)  # fmt: skip
def test_a_constant_shape(arithmetic: tuple[onnx.NodeProto, ...]) -> None:
    changed = assert_kept(run, model(SHAPE, *arithmetic, RESHAPE), *feeds(1, 3))
    assert operators(changed) == ["Reshape"]
    assert changed.graph.node[0].input[1] in [i.name for i in changed.graph.initializer]


def test_two_free_axes_that_stay() -> None:
    nodes = (
        SHAPE, node("Slice", "shape zero three", "kept"),
        node("Concat", "kept two two", "target", axis=0), RESHAPE,
    )  # fmt: skip
    changed = assert_kept(
        run, model(*nodes, shape=("batch", HEADS, "time", SIZE)), *feeds(1, 3, time=6)
    )
    assert operators(changed) == ["Reshape"]


def test_part_of_a_shape_from_opset_15() -> None:
    nodes = (
        node("Shape", "x", "b", end=1), node("Concat", "b free", "target", axis=0), RESHAPE,
    )  # fmt: skip
    assert_kept(run, model(*nodes), *feeds(2))


@pytest.mark.parametrize(
    "nodes",
    [
        # two axes whose sizes only the run knows
        (SHAPE, node("Gather", "shape two", "t"), node("Gather", "shape zero", "b"),
         node("Concat", "t b size two", "target", axis=0)),
        # a sum is no product
        (SHAPE, node("Gather", "shape zero", "b"), node("Add", "b zero", "rows"),
         node("Concat", "rows free size", "target", axis=0)),
    ],
)  # fmt: skip
def test_left_alone(nodes: tuple[onnx.NodeProto, ...]) -> None:
    shape = ("batch", HEADS, "time", SIZE)
    assert_left_alone(run, model(*nodes, RESHAPE, shape=shape))


def test_a_target_that_is_an_input_is_left_alone() -> None:
    inputs = {"x": ("float32", ("batch", 4)), "target": ("int64", (2,))}
    assert_left_alone(run, graph([RESHAPE], inputs, ["y"], {}))
