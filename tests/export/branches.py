"""A graph with an If that reads the outer graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.export.fake_source import IMAGE, model, normal


def model_with_a_branch() -> onnx.ModelProto:
    """A Relu behind a Conv whose output only an If's branches read."""

    def branch(operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        nodes = [helper.make_node(operator, ["positive", "two"], ["out"])]
        return helper.make_graph(nodes, operator, [], [out])

    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["convolved"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["convolved"], ["positive"], name="activation"),
        helper.make_node("ReduceMax", ["image"], ["top"], keepdims=0, name="top"),
        helper.make_node("Greater", ["top", "two"], ["choose"], name="greater"),
        helper.make_node(
            "If", ["choose"], ["y"], name="if", then_branch=branch("Mul"), else_branch=branch("Add")
        ),
    ]  # fmt: skip
    constants = {"filters": normal(3, 4, 1, 3, 3), "two": np.array(2, np.float32)}
    return model(nodes, {"image": IMAGE.shape}, {"y": ["batch", 4, 4, 4]}, constants)
