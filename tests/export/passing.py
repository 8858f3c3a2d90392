"""Small graphs for passes, and whether a pass keeps what a graph answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedl.export.passes import PassResult
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.session import open_session
from edgedl.runtime.settings import Settings

Run = Callable[[onnx.ModelProto], PassResult]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Sequence[str],
    constants: Mapping[str, Array],
    opset: int = 17,
) -> onnx.ModelProto:
    """A valid model; inputs are (dtype, shape), the outputs' shapes are inferred."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(t)), shape)
        for name, (t, shape) in inputs.items()
    ]
    answers = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "graph", given, answers, tensors)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10
    )
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def answers(model: onnx.ModelProto, feeds: Arrays) -> list[Array]:
    """What ONNX Runtime makes of a model's inputs."""
    return list(
        open_session(model.SerializeToString(), "cpu", Settings(threads=1), "test").run(None, feeds)
    )


def operators(model: onnx.ModelProto) -> list[str]:
    """The main graph's operators, in order."""
    return [node.op_type for node in model.graph.node]


def assert_kept(run: Run, model: onnx.ModelProto, *feeds: Arrays) -> onnx.ModelProto:
    """The pass changes the model, leaves its argument alone and keeps every answer."""
    before = model.SerializeToString()
    result = run(model)
    assert result.changed
    assert result.detail
    assert model.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    for given in feeds:
        for old, new in zip(answers(model, given), answers(result.model, given), strict=True):
            assert (old.shape, old.dtype) == (new.shape, new.dtype)
            np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    assert not run(result.model).changed, "a second run finds nothing"
    return result.model


def assert_left_alone(run: Run, model: onnx.ModelProto) -> None:
    """The pass finds nothing to do."""
    result = run(model)
    assert not result.changed, result.detail
    assert result.model is model
