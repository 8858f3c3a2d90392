"""channel-pruning: channels that others can stand in for go, and the next layer makes it up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper

from edgedl.export.errors import NothingGainedError
from edgedl.export.nodes import copied
from edgedl.export.recipes import channel_pruning, find_recipe
from edgedl.export.recipes.channels import channels
from edgedl.export.samples import Samples
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import model, normal
from tests.export.layers import material, run, sqnr_db

SIDE, CHANNELS, TRUE, OUT = 6, 16, 8, 5
IMAGE = TensorSpec("x", "float32", ("batch", 1, SIDE, SIDE))
SCORES = TensorSpec("y", "float32", ("batch", OUT))
POSITIONS = 4  # 6 x 6 -> 4 x 4 by the convolution -> 2 x 2 by the pooling
SAMPLES = normal(0, 128, 1, SIDE, SIDE)
node = helper.make_node


def redundant() -> tuple[Array, Array]:
    """Filters and biases of 16 channels: after a ReLU, half are multiples of the others."""
    kernel, bias = normal(1, TRUE, 1, 3, 3), normal(2, TRUE)
    shares = np.linspace(0.5, 1.5, TRUE, dtype=np.float32)
    both = [kernel, kernel[::-1] * shares[:, None, None, None]]
    return np.concatenate(both), np.concatenate([bias, bias[::-1] * shares])


def trunk() -> list[NodeProto]:
    return [
        node("Conv", ["x", "kernel", "bias"], ["wide"], name="conv"),
        node("Relu", ["wide"], ["positive"], name="relu"),
        node("MaxPool", ["positive"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]


def graph(tail: str = "last", written: int = CHANNELS * POSITIONS) -> onnx.ModelProto:
    """Convolution, ReLU, pooling, and one of several next layers; channels last or first."""
    kernel, bias = redundant()
    dense = normal(3, CHANNELS * POSITIONS, OUT)
    constants = {"kernel": kernel, "bias": bias, "dense": dense}
    if tail == "last":
        nodes = [
            node("Transpose", ["pooled"], ["last"], name="turn", perm=[0, 2, 3, 1]),
            node("Reshape", ["last", "rows"], ["flat"], name="flatten"),
            node("MatMul", ["flat", "dense"], ["y"], name="dense"),
        ]
        constants["rows"] = np.array([-1 if written > 0 else 0, written], np.int64)
    elif tail == "first":
        nodes = [
            node("Flatten", ["pooled"], ["flat"], name="flatten"),
            node("Gemm", ["flat", "dense"], ["y"], name="dense", transB=1),
        ]
        constants["dense"] = np.ascontiguousarray(dense.T)
    else:
        nodes = [
            node("Conv", ["pooled", "next"], ["map"], name="next"),
            node("Flatten", ["map"], ["y"], name="flatten"),
        ]
        constants["next"] = normal(4, OUT, CHANNELS, 2, 2)
        del constants["dense"]
    inputs, outputs = {"x": IMAGE.shape}, {"y": ["batch", OUT]}
    return model([*trunk(), *nodes], inputs, outputs, constants)


def with_constants(of: onnx.ModelProto, **values: Array) -> onnx.ModelProto:
    """A copy with other values for some of its initialisers."""
    copy = copied(of)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return copy


def shapes(of: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {i.name: tuple(i.dims) for i in of.graph.initializer}


@pytest.mark.parametrize("recipe", ["channel-pruning", "channel-pruning-close"])
@pytest.mark.parametrize("tail", ["last", "first", "convolution"])
def test_channels_that_are_multiples_of_others_go_at_no_loss(
    recipe: str, tail: str, tmp_path: Path
) -> None:
    given = material(graph(tail), (IMAGE, SCORES), SAMPLES, tmp_path, max_drop=0.0)
    product = find_recipe(recipe).make(replace(given, least_sqnr_db=60.0))
    assert product.settings["channels"] == {"conv": [CHANNELS, TRUE]}
    assert shapes(product.model)["kernel"] == (TRUE, 1, 3, 3)
    onnx.checker.check_model(product.model, full_check=True)
    expected = run(given.model, given, SAMPLES)
    assert sqnr_db(run(product.model, given, SAMPLES), expected) > 60


def test_a_flattened_size_that_is_left_open_stays_open(tmp_path: Path) -> None:
    given = material(graph("last", written=-1), (IMAGE, SCORES), SAMPLES, tmp_path)
    product = find_recipe("channel-pruning-close").make(given)
    rows = next(i for i in product.model.graph.initializer if i.name == "rows")
    assert onnx.numpy_helper.to_array(rows).tolist() == [0, -1]
    assert run(product.model, given, SAMPLES).shape == (len(SAMPLES), OUT)


def test_the_model_that_was_given_is_left_as_it_was(tmp_path: Path) -> None:
    given = material(graph(), (IMAGE, SCORES), SAMPLES, tmp_path)
    before = given.model.SerializeToString(deterministic=True)
    find_recipe("channel-pruning").make(given)
    assert given.model.SerializeToString(deterministic=True) == before


def test_a_tighter_budget_keeps_more_channels(tmp_path: Path) -> None:
    # Some channels are nearly multiples of others, some less so.
    stir = np.geomspace(1e-3, 0.5, CHANNELS, dtype=np.float32)[:, None, None, None]
    noisy = with_constants(graph(), kernel=redundant()[0] + stir * normal(9, CHANNELS, 1, 3, 3))
    kept = []
    for least in (10.0, 30.0):
        given = material(
            noisy, (IMAGE, SCORES), SAMPLES, tmp_path, max_drop=100.0, least_sqnr_db=least
        )
        product = find_recipe("channel-pruning").make(given)
        assert given.passes(product.model)
        kept.append(product.settings["channels"]["conv"][1])
    assert kept[0] < kept[1] < CHANNELS


def test_each_channel_goes_with_what_the_others_cannot_say_of_it() -> None:
    # Channel 2 is the sum of the first two; 3 is alone, but the next layer hardly reads it.
    rows = normal(5, 500, 4).astype(np.float64)
    rows[:, 2] = rows[:, 0] + rows[:, 1] + 1e-4 * rows[:, 2]
    moments = rows.T @ rows
    weights = np.diag([1.0, 1.0, 1.0, 0.1])
    order, costs = channel_pruning.elimination(moments, weights @ weights.T)
    assert order[0] in (0, 1, 2)
    assert order[1] == 3
    assert costs[0] < 1e-3
    # What goes second is the residual of a least-squares fit, weighed by what reads it.
    left = [c for c in range(3) if c != order[0]]
    _, residual, *_ = np.linalg.lstsq(rows[:, left], rows[:, 3], rcond=None)
    assert costs[1] == pytest.approx(0.01 * float(residual[0]))


def test_no_channel_that_can_go_is_said(tmp_path: Path) -> None:
    alone = with_constants(
        graph(),
        kernel=np.eye(9, dtype=np.float32)[:TRUE].reshape(TRUE, 1, 3, 3),
        bias=np.zeros(TRUE, np.float32),
        dense=normal(3, TRUE * POSITIONS, OUT),
        rows=np.array([-1, TRUE * POSITIONS], np.int64),
    )
    given = material(alone, (IMAGE, SCORES), SAMPLES, tmp_path)
    with pytest.raises(NothingGainedError, match="every channel is needed"):
        find_recipe("channel-pruning-close").make(given)
    with pytest.raises(NothingGainedError, match="no channel can go"):
        find_recipe("channel-pruning").make(replace(given, least_sqnr_db=80.0))


def test_channels_that_something_else_reads_too_stay(tmp_path: Path) -> None:
    assert [c.name for c in channels(graph())] == ["conv"]
    read_twice, an_output, shared = graph(), graph(), graph()
    read_twice.graph.node.append(node("Abs", ["positive"], ["magnitude"], name="abs"))
    an_output.graph.output.append(helper.make_tensor_value_info("pooled", 1, None))
    shared.graph.node.append(node("Abs", ["dense"], ["magnitude"], name="abs"))
    grouped = copied(graph())
    grouped.graph.node[0].attribute.append(helper.make_attribute("group", 2))
    for other in (read_twice, an_output, shared, grouped):
        assert channels(other) == ()
    given = material(graph(), (IMAGE, SCORES), SAMPLES, tmp_path)
    reason = find_recipe("channel-pruning").obstacle(replace(given, model=read_twice))
    assert reason == "no convolution's channels go into one other layer alone"


def test_it_needs_samples(tmp_path: Path) -> None:
    given = material(graph(), (IMAGE, SCORES), SAMPLES, tmp_path)
    nothing = Samples({"x": SAMPLES[:0]}, (IMAGE,), "", "", empty=True)
    reason = find_recipe("channel-pruning").obstacle(replace(given, calibration=nothing))
    assert reason == "it needs calibration samples"


@pytest.mark.parametrize("second", ["int8-dynamic", "int8-static", "low-rank"])
def test_others_follow_it(second: str, tmp_path: Path) -> None:
    given = material(graph(), (IMAGE, SCORES), SAMPLES, tmp_path, max_drop=20.0)
    product = find_recipe(f"channel-pruning-close+{second}").make(given)
    expected = run(given.model, given, SAMPLES)
    assert sqnr_db(run(product.model, given, SAMPLES), expected) > 15
