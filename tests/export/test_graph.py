"""Names and shapes of an exported graph, and the least onnxruntime it needs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgedl.export.errors import ConversionError
from edgedl.export.graph import (
    check_model,
    latest_opset,
    least_onnxruntime,
    operators,
    set_interface,
    with_least_ir,
)
from edgedl.export.interface import Interface
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import dense_graph, model, normal

X = TensorSpec("x", "float32", ("batch", 4))
Y = TensorSpec("y", "float32", ("batch", 4))


def _run(graph: onnx.ModelProto, x: Array) -> dict[str, Array]:
    check_model(graph)
    session = onnxruntime.InferenceSession(with_least_ir(graph).SerializeToString())
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def test_an_inner_value_with_a_public_name_steps_aside() -> None:
    # What the converter calls `y` is a value inside; the public `y` is twice that.
    nodes = [
        helper.make_node("Neg", ["in:0"], ["y"]),
        helper.make_node("Add", ["y", "x"], ["out:0"]),
    ]
    one = {"x": np.ones(1, np.float32)}
    graph = model(nodes, {"in:0": [1, 4]}, {"out:0": [1, 4]}, one)
    x = normal(0, 3, 4)
    np.testing.assert_allclose(_run(set_interface(graph, Interface((X,), (Y,), ())), x)["y"], 1 - x)


def test_an_inner_value_inside_a_branch_steps_aside() -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["in:0"], ["y"])], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["in:0"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["out:0"],
            then_branch=branch("then", "Neg"), else_branch=branch("else", "Abs"),
        ),
    ]  # fmt: skip
    zero = {"zero": np.array(0, np.float32)}
    graph = model(nodes, {"in:0": ["batch", 4]}, {"out:0": ["batch", 4]}, zero)
    renamed = set_interface(graph, Interface((X,), (Y,), ()))
    x = np.abs(normal(0, 3, 4))
    np.testing.assert_array_equal(_run(renamed, x)["y"], -x)
    np.testing.assert_array_equal(_run(renamed, -x)["y"], x)


def test_an_output_that_is_an_input_or_stands_twice_gets_its_own_value() -> None:
    nodes = [helper.make_node("Neg", ["in:0"], ["out:0"])]
    graph = model(nodes, {"in:0": ["unk__1", 4]}, {"out:0": ["unk__1", 4]}, {})
    graph.graph.output.extend([graph.graph.input[0], graph.graph.output[0]])
    outputs = tuple(TensorSpec(n, "float32", ("batch", 4)) for n in ("y", "same", "again"))
    renamed = set_interface(graph, Interface((X,), outputs, ()))
    x = normal(0, 2, 4)
    answers = _run(renamed, x)
    np.testing.assert_array_equal(answers["same"], x)
    np.testing.assert_array_equal(answers["y"], -x)
    np.testing.assert_array_equal(answers["again"], -x)
    assert operators(renamed)["Identity"] == 2


def test_the_given_model_is_left_as_it_is() -> None:
    graph = dense_graph()
    before = graph.SerializeToString(deterministic=True)
    x = TensorSpec("renamed", "float32", ("n", 6))
    set_interface(graph, Interface((x,), (TensorSpec("z", "float32", ("n", 5)),), ()))
    with_least_ir(graph)
    assert graph.SerializeToString(deterministic=True) == before


def test_another_number_of_inputs_is_refused() -> None:
    with pytest.raises(ConversionError, match="1 inputs, not 2"):
        set_interface(dense_graph(), Interface((X, Y), (Y,), ()))


# First releases by onnxruntime's own compatibility table, but for 19 and 22.
@pytest.mark.parametrize(
    ("opset", "ir", "least"),
    [(13, 8, "1.9"), (15, 8, "1.9"), (17, 8, "1.12"), (18, 8, "1.14"), (19, 9, "1.16"),
     (20, 9, "1.17"), (21, 10, "1.18"), (22, 10, "1.21"), (23, 11, "1.23")],
)  # fmt: skip
def test_the_least_onnxruntime_follows_from_opset_and_ir(opset: int, ir: int, least: str) -> None:
    lowered = with_least_ir(dense_graph(opset))
    assert lowered.ir_version == ir
    assert least_onnxruntime(lowered) == least


def test_a_new_ir_version_alone_needs_a_new_onnxruntime() -> None:
    graph = dense_graph(17)
    graph.ir_version = 10
    assert least_onnxruntime(graph) == "1.18"


@pytest.mark.parametrize(
    ("min_ort", "opset"),
    [("1.8", 14), ("1.9", 15), ("1.10", 15), ("1.15.0", 18), ("1.17.3", 20), ("2.0", 23)],
)
def test_the_latest_opset_an_onnxruntime_reads(min_ort: str, opset: int) -> None:
    assert latest_opset(min_ort) == opset


def test_an_onnxruntime_too_old_for_any_opset_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"onnxruntime 1\.2 is older"):
        latest_opset("1.2")
