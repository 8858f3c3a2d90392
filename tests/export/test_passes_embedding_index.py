"""Index arithmetic before an embedding taken out: when, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgedl.export.passes.embedding_index import run
from tests.export.fake_source import normal
from tests.export.passing import assert_kept, assert_left_alone, graph, operators

ROWS = 9


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def as_tf2onnx(kind: int) -> list[onnx.NodeProto]:
    """where(t < 0, t + rows, t), as tf2onnx and onnxsim leave it."""
    return [
        node("Cast", "t", "real", to=TensorProto.FLOAT),
        node("Less", "real zero", "negative"),
        node("Cast", "negative", "is_negative", to=kind),
        node("Not", "negative", "positive"),
        node("Cast", "positive", "is_positive", to=kind),
        node("Add", "t rows", "wrapped"),
        node("Mul", "is_negative wrapped", "one"),
        node("Mul", "t is_positive", "other"),
        node("Add", "one other", "index"),
        node("Gather", "table index", "y"),
    ]


def model(nodes: list[onnx.NodeProto], dtype: str = "int64", **constants: Any) -> Any:
    kind = np.dtype(dtype)
    known = {
        "zero": np.float32(0), "none": np.array(0, kind), "rows": np.array(ROWS, kind),
        "top": np.array(ROWS - 1, kind), "table": normal(1, ROWS, 4), **constants,
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    kept = {name: np.asarray(array) for name, array in known.items() if name in used}
    return graph(nodes, {"t": (dtype, ("batch", "time"))}, ["y"], kept)


def every_token(dtype: str = "int64") -> Any:
    return {"t": np.arange(-ROWS, ROWS).reshape(2, ROWS).astype(dtype)}


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_wrapping_is_what_gather_does(dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    changed = assert_kept(run, model(as_tf2onnx(kind), dtype), every_token(dtype))
    assert operators(changed) == ["Gather"]


def test_a_where_is_found_too() -> None:
    nodes = [
        node("Less", "t none", "negative"),
        node("Add", "t rows", "wrapped"),
        node("Where", "negative wrapped t", "index"),
        node("Gather", "table index", "y"),
    ]
    assert operators(assert_kept(run, model(nodes), every_token())) == ["Gather"]


@pytest.mark.parametrize(
    "arithmetic",
    [
        [node("Add", "t none", "a"), node("Sub", "top a", "index")],  # the other way round
        [node("Less", "t none", "low"), node("Where", "low none t", "index")],  # clipped below
        [node("Less", "t rows", "in"), node("Where", "in t top", "index")],  # clipped above
        [node("Mul", "t other", "index")],
    ],
)
def test_other_arithmetic_is_left_alone(arithmetic: list[onnx.NodeProto]) -> None:
    nodes = [*arithmetic, node("Gather", "table index", "y")]
    assert_left_alone(run, model(nodes, other=np.array(2)))


def test_a_plain_lookup_and_another_axis_are_left_alone() -> None:
    assert_left_alone(run, model([node("Gather", "table t", "y")]))
    columns = [*as_tf2onnx(TensorProto.INT64)[:-1], node("Gather", "table index", "y", axis=1)]
    assert_left_alone(run, model(columns, table=normal(1, 3, ROWS)))
