"""A mean over an image as a global pool: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.passes.global_pool import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

IMAGE = ("batch", 3, 4, 5)


def mean(
    axes: list[int] | None, opset: int, shape: tuple[Any, ...] = IMAGE, dtype: str = "float32",
    **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """ReduceMean, its axes an attribute, or an input from opset 18."""
    constants = {}
    inputs = ["x"]
    if axes is not None and opset >= 18:
        constants["axes"] = np.array(axes)
        inputs.append("axes")
    elif axes is not None:
        attributes["axes"] = axes
    node = helper.make_node("ReduceMean", inputs, ["y"], **attributes)
    return graph([node], {"x": (dtype, shape)}, ["y"], constants, opset)


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, -2]])
def test_a_mean_over_height_and_width(opset: int, axes: list[int]) -> None:
    feeds = [{"x": normal(batch, batch, 3, 4, 5)} for batch in (1, 4)]
    changed = assert_kept(run, mean(axes, opset), *feeds)
    assert operators(changed) == ["GlobalAveragePool"]
    assert not changed.graph.initializer


def test_a_mean_over_time() -> None:
    model = mean([2], 17, ("batch", 3, "time"))
    assert_kept(run, model, {"x": normal(1, 2, 3, 7)}, {"x": normal(1, 1, 3, 1)})


@pytest.mark.parametrize(
    "model",
    [
        mean([1, 2], 17),
        mean([2], 17),
        mean([1, 2, 3], 18),
        mean(None, 17),
        mean([2, 3], 18, keepdims=0),
        mean([2, 3], 17, dtype="float64"),
        mean([1], 17, ("batch", 3)),
    ],
)
def test_left_alone(model: onnx.ModelProto) -> None:
    assert_left_alone(run, model)
