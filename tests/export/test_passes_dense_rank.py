"""Dense layers without reshapes around them: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.passes.dense_rank import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

IN, OUT = 6, 5
X = {"x": ("float32", ("batch", "time", IN))}


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def computed(dense: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **more: Any) -> Any:
    """The form onnxsim writes: the shape after the layer is computed from the input's."""
    nodes = [
        node("Reshape", "x rows", "flat"),
        dense,
        node("Shape", "x", "shape"),
        node("Slice", "shape zero last zero", "leading"),
        node("Concat", "leading units", "target", axis=0),
        node("Reshape", "product target", "y"),
    ]
    constants = {
        "rows": np.array([-1, IN]), "zero": np.array([0]), "last": np.array([-1]),
        "units": np.array([OUT]), "w": normal(1, IN, OUT), "wt": normal(1, OUT, IN),
        "b": normal(2, OUT), **more,
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    kept = {name: array for name, array in constants.items() if name in used}
    return graph(nodes, X, outputs, kept)


def feeds(*sizes: tuple[int, int], dtype: str = "float32") -> list[dict[str, Any]]:
    return [{"x": normal(3, *size, IN).astype(dtype)} for size in sizes]


GEMM = node("Gemm", "flat w b", "product")


@pytest.mark.parametrize(
    ("dense", "left"),
    [
        (GEMM, ["MatMul", "Add"]),
        (node("Gemm", "flat wt b", "product", transB=1), ["MatMul", "Add"]),
        (node("Gemm", "flat w", "product"), ["MatMul"]),
        (node("MatMul", "flat w", "product"), ["MatMul"]),
    ],
)
def test_a_computed_shape(dense: onnx.NodeProto, left: list[str]) -> None:
    changed = assert_kept(run, computed(dense), *feeds((1, 1), (3, 7), (2, 1)))
    assert operators(changed) == left
    assert all(i.name not in ("rows", "zero", "last", "units") for i in changed.graph.initializer)


@pytest.mark.parametrize("target", [[-1, 4, OUT], [2, -1, OUT], [2, 4, -1], [2, 4, OUT]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_shape(target: list[int], dtype: str) -> None:
    nodes = [
        node("Reshape", "x rows", "flat"),
        node("MatMul", "flat w", "product"),
        node("Reshape", "product target", "y"),
    ]
    weights = normal(1, IN, OUT).astype(dtype)
    constants = {"rows": np.array([-1, IN]), "target": np.array(target), "w": weights}
    model = graph(nodes, {"x": (dtype, (2, 4, IN))}, ["y"], constants)
    assert operators(assert_kept(run, model, *feeds((2, 4), dtype=dtype))) == ["MatMul"]


def test_weights_that_another_layer_uses_stay() -> None:
    nodes = [
        node("Reshape", "x rows", "flat"),
        node("Gemm", "flat wt b", "product", transB=1),
        node("Reshape", "product target", "y"),
        node("Gemm", "other wt b", "z", transB=1),
    ]
    inputs = {"x": ("float32", ("batch", 4, IN)), "other": ("float32", ("batch", IN))}
    constants = {
        "rows": np.array([-1, IN]), "target": np.array([-1, 4, OUT]), "wt": normal(1, OUT, IN),
        "b": normal(2, OUT),
    }  # fmt: skip
    model = graph(nodes, inputs, ["y", "z"], constants)
    assert_kept(run, model, {"x": normal(3, 3, 4, IN), "other": normal(4, 3, IN)})


@pytest.mark.parametrize(
    ("dense", "outputs"),
    [
        (GEMM, ("y", "product")),
        (GEMM, ("y", "flat")),
        (node("Gemm", "flat w b", "product", alpha=0.5), ("y",)),
        (node("Gemm", "flat w b", "product", beta=2.0), ("y",)),
        (node("MatMul", "flat input_w", "product"), ("y",)),
    ],
)
def test_left_alone(dense: onnx.NodeProto, outputs: tuple[str, ...]) -> None:
    if "input_w" not in dense.input:
        assert_left_alone(run, computed(dense, outputs))
        return
    model = computed(dense, outputs, input_w=normal(1, IN, OUT))
    model.graph.input.append(helper.make_tensor_value_info("input_w", 1, [IN, OUT]))
    assert_left_alone(run, model)  # a default that the caller may replace is no constant


def test_a_bias_per_row_is_left_alone() -> None:
    nodes = [
        node("Reshape", "x rows", "flat"),
        node("Gemm", "flat w b", "product"),
        node("Reshape", "product target", "y"),
    ]
    constants = {
        "rows": np.array([-1, IN]), "target": np.array([2, 2, OUT]), "w": normal(1, IN, OUT),
        "b": normal(2, 4, 1),
    }  # fmt: skip
    assert_left_alone(run, graph(nodes, {"x": ("float32", (2, 2, IN))}, ["y"], constants))


@pytest.mark.parametrize("target", [[4, -1, OUT], [-1, 2, 2, OUT], [-1, OUT], [0, 4, OUT]])
def test_another_shape_is_left_alone(target: list[int]) -> None:
    nodes = [
        node("Reshape", "x rows", "flat"),
        node("MatMul", "flat w", "product"),
        node("Reshape", "product target", "y"),
    ]
    constants = {"rows": np.array([-1, IN]), "target": np.array(target), "w": normal(1, IN, OUT)}
    assert_left_alone(run, graph(nodes, {"x": ("float32", (1, 4, IN))}, ["y"], constants))


def test_what_a_subgraph_reads_stays() -> None:
    branch = helper.make_graph(
        [node("Identity", "flat", "inner")], "branch", [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )  # fmt: skip
    nodes = [
        node("Reshape", "x rows", "flat"),
        node("MatMul", "flat w", "product"),
        node("Reshape", "product target", "y"),
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch),
    ]
    constants = {
        "rows": np.array([-1, IN]), "target": np.array([-1, 4, OUT]), "w": normal(1, IN, OUT),
        "yes": np.array(True),
    }  # fmt: skip
    assert_left_alone(
        run, graph(nodes, {"x": ("float32", ("batch", 4, IN))}, ["y", "z"], constants)
    )
