"""What the machine does at most: there, finite, and of the models it is said to be of."""

from __future__ import annotations

import base64
import math

import onnx
import pytest
from onnx import TensorProto, helper

from edgedl.runtime import limits
from edgedl.runtime.limits import FLOAT32_MODEL, INT8_MODEL, SIZE, measure_limits, read_rate


def product(operator: str, left: int, right: int, result: int) -> onnx.ModelProto:
    """How the product's models were made."""
    one = helper.make_tensor("", right, [1], [1])
    nodes = [
        helper.make_node("Constant", [], ["s"], value_ints=[SIZE, SIZE]),
        helper.make_node("ConstantOfShape", ["s"], ["b"], value=one),
        helper.make_node(operator, ["a", "b"], ["c"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("a", left, ["m", SIZE])],
        [helper.make_tensor_value_info("c", result, ["m", SIZE])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@pytest.mark.parametrize(
    ("literal", "model"),
    [
        (
            FLOAT32_MODEL,
            product("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT),
        ),
        (
            INT8_MODEL,
            product("MatMulInteger", TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32),
        ),
    ],
    ids=["float32", "int8"],
)
def test_the_products_are_what_they_are_said_to_be(literal: str, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model)
    assert onnx.load_from_string(base64.b64decode(literal)) == model


def test_limits_are_measured_with_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MEMORY_BYTES", 1 << 20), ("WINDOW_S", 0.001), ("PRODUCT_S", 0.001)):
        monkeypatch.setattr(limits, name, value)
    found = measure_limits(2, 300_000)
    assert (found.threads, found.weights_bytes) == (2, 300_000)
    for rate in (found.near, found.weights, found.memory, found.float32, found.int8):
        assert math.isfinite(rate)
        assert rate > 1e6


@pytest.mark.parametrize("size", [1, 5000, 1 << 20])
def test_a_buffer_of_any_size_is_read(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_S", 0.001)
    assert 1e6 < read_rate(limits._split(size, 3)) < math.inf


def test_passes_lie_inside_their_buffer() -> None:
    for size in (1 << 12, 100_001, 5 << 20):
        view = limits._passes(size)
        assert view.shape[1] == size
        assert view.max() == view.min() == 1
