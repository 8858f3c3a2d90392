"""Where time goes: nodes, bytes and operations as ONNX Runtime really ran them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedl.runtime import limits
from edgedl.runtime.profile import midmean
from edgedl.runtime.protocol import (
    Case,
    Failure,
    NodeProfile,
    PlacementAnswer,
    PlacementRequest,
    Profile,
    ProfileRequest,
)
from edgedl.runtime.trace import Arguments, Event, split_runs
from edgedl.runtime.worker import answer
from tests.graphs import (
    HIDDEN,
    TOKENS,
    classifier_graph,
    classifier_weights,
    replace_variant,
    write_classifier_bundle,
    write_text_bundle,
)

QUICK: dict[str, Any] = {"warmup_s": 0.0, "least_s": 0.01, "least_count": 20, "threads": 1}
VOCABULARY = len(TOKENS)


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MEMORY_BYTES", 1 << 20), ("WINDOW_S", 0.001), ("PRODUCT_S", 0.001)):
        monkeypatch.setattr(limits, name, value)


def profiled(case: Case) -> Profile:
    reply = answer(ProfileRequest(case))
    assert isinstance(reply, Profile), reply
    return reply


def only(profile: Profile, *operators: str) -> NodeProfile:
    (node,) = (n for n in profile.nodes if n.operator in operators)
    return node


@pytest.mark.parametrize("batch", [1, 5])
def test_a_dense_layers_bytes_and_operations(classifier_bundle: Path, batch: int) -> None:
    profile = profiled(Case(str(classifier_bundle), "fp32", sizes={"batch": batch}, **QUICK))
    dense = only(profile, "Gemm", "FusedGemm")
    assert dense.operations == 2 * batch * 16 * 3
    assert dense.parameter_bytes == 4 * (16 * 3 + 3)
    assert dense.moved_bytes == 4 * batch * (16 + 3)
    assert (dense.arithmetic, dense.provider, dense.calls) == ("float32", "CPUExecutionProvider", 1)
    softmax = only(profile, "Softmax")
    assert (softmax.operations, softmax.parameter_bytes) == (None, 0)
    assert softmax.moved_bytes == 2 * 4 * batch * 3
    flatten = only(profile, "Flatten", "Reshape")
    assert (flatten.parameter_bytes, flatten.moved_bytes) == (0, 0)


def test_a_recurrent_layers_operations_grow_with_the_steps(text_bundle: Path) -> None:
    profile = profiled(Case(str(text_bundle), "fp32", sizes={"batch": 2, "time": 3}, **QUICK))
    assert only(profile, "RNN").operations == 2 * 3 * 2 * HIDDEN * (4 + HIDDEN)
    assert only(profile, "RNN").reread_bytes == 2 * 4 * HIDDEN * HIDDEN
    assert only(profile, "MatMul", "Gemm").operations == 2 * 3 * 2 * HIDDEN * VOCABULARY
    assert only(profile, "Gather").parameter_bytes == 4 * 3 * 2 * 4  # the rows looked up


def test_what_a_loop_runs_is_counted_each_time_and_once(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "loop.bundle")
    replace_variant(path, "fp32", looping_graph(turns=3).SerializeToString())
    profile = profiled(Case(str(path), "fp32", sizes={"batch": 2}, **QUICK))
    inner = next(n for n in profile.nodes if n.name == "inner")
    assert (inner.calls, inner.operations) == (3, 3 * 2 * 2 * 16 * 16)
    loop = only(profile, "Loop")
    assert (loop.calls, loop.operations) == (1, None)


def looping_graph(turns: int) -> onnx.ModelProto:
    """The classifier's signature; its dense layer after a product that a Loop repeats."""
    weights, square = classifier_weights(), np.eye(16, dtype=np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["v", "square"], ["next"], name="inner"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 16]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["batch", 16]),
        ],
    )
    model = classifier_graph(weights)
    flatten, *rest = model.graph.node
    loop = helper.make_node("Loop", ["turns", "", "flat"], ["turned"], body=body)
    rest[0].input[0] = "turned"
    del model.graph.node[:]
    model.graph.node.extend([flatten, loop, *rest])
    constants = {"square": square, "turns": np.array(turns)}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    return model


def test_runs_are_traced_beside_untraced_ones_and_the_machines_limits(text_bundle: Path) -> None:
    profile = profiled(Case(str(text_bundle), "fp32", **QUICK))
    assert profile.runs >= 20
    assert profile.median_ns > 0
    assert all(node.traced_ns >= 0 for node in profile.nodes)
    assert profile.settings.threads == 1
    assert profile.limits is not None
    constants = sum(node.parameter_bytes or 0 for node in profile.nodes)
    assert profile.limits.weights_bytes == max(constants, limits.NEAR_BYTES)


def test_a_trace_leaves_no_file_behind(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    profiled(Case(str(text_bundle), "fp32", **QUICK))
    assert list(tmp_path.iterdir()) == []


def test_constants_that_no_trace_shows_are_unknown(
    classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a kernel runs only with its constants packed: then the trace lacks them."""
    monkeypatch.setattr("edgedl.runtime.profile._see_constants", lambda *given: {})
    profile = profiled(Case(str(classifier_bundle), "fp32", **QUICK))
    dense = only(profile, "Gemm", "FusedGemm")
    assert (dense.parameter_bytes, dense.operations) == (None, 2 * 16 * 3)
    assert only(profile, "Softmax").parameter_bytes == 0


def test_a_subject_has_no_nodes(text_bundle: Path) -> None:
    reply = answer(ProfileRequest(Case(str(text_bundle), "fp32", subject="a.py:b")))
    assert isinstance(reply, Failure)
    assert "no nodes" in reply.message


def test_every_node_that_ran_is_placed_in_order(tmp_path: Path) -> None:
    path = write_text_bundle(tmp_path / "letters.bundle")
    reply = answer(PlacementRequest(str(path), ("rounded",)))
    assert isinstance(reply, PlacementAnswer)
    (placed,) = reply.variants
    assert placed.variant == "rounded"
    operators = [node.operator for node in placed.nodes]
    assert operators.index("Gather") < operators.index("RNN") < len(operators) - 1
    assert {node.provider for node in placed.nodes} == {"CPUExecutionProvider"}


def test_placement_on_a_device_that_is_not_there_fails_as_loading_does(text_bundle: Path) -> None:
    reply = answer(PlacementRequest(str(text_bundle), device="xnnpack"))
    assert isinstance(reply, Failure)
    assert "build onnxruntime from source" in reply.hint


def event(name: str, begin: int, duration: int, operator: str) -> Event:
    return Event("Node", f"{name}_kernel_time", begin, duration, Arguments(op_name=operator))


def test_a_subgraphs_time_is_not_counted_twice() -> None:
    events = [
        Event("Session", "model_run", 0, 100),
        event("inner", 12, 20, "MatMul"),
        event("inner2", 33, 5, "Add"),
        event("loop", 10, 30, "Loop"),
        event("after", 45, 7, "Relu"),
        Event("Session", "model_run", 200, 100),
        event("loop", 210, 30, "Loop"),
    ]
    first, second = split_runs(events)
    assert [(step.event.node[0], step.own_us) for step in first] == [
        ("loop", 5),
        ("inner", 20),
        ("inner2", 5),
        ("after", 7),
    ]
    assert [step.own_us for step in second] == [30]


def test_what_lies_far_out_does_not_move_a_midmean() -> None:
    assert midmean([3, 3, 4, 4, 900, 0, 3, 4]) == 3.5
    assert midmean([7]) == 7
