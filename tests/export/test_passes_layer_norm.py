"""A layer normalisation as one operator: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.passes.layer_norm import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

SIZE = 6


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def spread(
    opset: int = 17, dtype: str = "float32", pool: bool = False, axes: tuple[int, ...] = (-1,),
    shift: str = "Sub", shape: tuple[Any, ...] = ("batch", 5, SIZE), **changes: str,
) -> onnx.ModelProto:  # fmt: skip
    """Keras' formula, node by node; `changes` rewires an input of a node by its output."""

    def mean(value: str, output: str) -> onnx.NodeProto:
        if pool:
            return node("GlobalAveragePool", value, output)
        if opset >= 18:
            return node("ReduceMean", f"{value} axes", output)
        return node("ReduceMean", value, output, axes=list(axes))

    ends = {
        "Sub": [node("Mul", "mean scale", "moved"), node("Sub", "beta moved", "shift")],
        "Neg": [node("Neg", "mean", "minus"), node("Mul", "minus scale", "moved"),
                node("Add", "moved beta", "shift")],
        "none": [node("Neg", "mean", "minus"), node("Mul", "minus scale", "shift")],
    }[shift]  # fmt: skip
    nodes = [
        mean("x", "mean"), node("Sub", "x mean", "apart"), node("Mul", "apart apart", "square"),
        mean("square", "variance"), node("Add", "variance epsilon", "more"),
        node("Sqrt", "more", "root"), node("Reciprocal", "root", "inverse"),
        node("Mul", "inverse gamma", "scale"), node("Mul", "x scale", "scaled"), *ends,
        node("Add", "scaled shift", "y"),
    ]  # fmt: skip
    for n in nodes:
        if n.output[0] in changes:
            n.input[:] = changes[n.output[0]].split()
    kind = np.dtype(dtype)
    constants = {
        "epsilon": np.array(1e-3, kind), "gamma": normal(1, 1, 1, SIZE).astype(kind),
        "beta": normal(2, SIZE).astype(kind), "axes": np.array(axes),
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    kept = {name: array for name, array in constants.items() if name in used}
    return graph(nodes, {"x": (dtype, shape)}, ["y"], kept, opset)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shift", ["Sub", "Neg", "none"])
@pytest.mark.parametrize("opset", [17, 18])
def test_one_operator(pool: bool, shift: str, opset: int) -> None:
    feeds = [{"x": normal(batch, batch, 5, SIZE) * 3 + 1} for batch in (1, 4)]
    changed = assert_kept(run, spread(opset, pool=pool, shift=shift), *feeds)
    assert operators(changed) == ["LayerNormalization"]


@pytest.mark.parametrize(
    "model",
    [
        spread(opset=16),
        spread(dtype="float64"),
        spread(axes=(1,), shape=("batch", SIZE, SIZE)),
        spread(axes=(-2, -1)),
        spread(pool=True, shape=("batch", 5, 2, SIZE)),
        spread(apart="x beta"),  # another mean
        spread(moved="mean inverse"),  # another scale
        spread(square="apart x"),
        spread(scaled="apart scale"),
    ],
)
def test_left_alone(model: onnx.ModelProto) -> None:
    assert_left_alone(run, model)
