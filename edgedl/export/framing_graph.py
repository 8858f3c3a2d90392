"""The nodes that make a model's input of pixels, and answers of its scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgedl.export.frames import AnswerOutput, PixelInput
from edgedl.export.nodes import copied
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec

SCALED = "__scaled"


def add_frames(
    model: onnx.ModelProto,
    pixels: Sequence[tuple[PixelInput, TensorSpec]],
    answers: Sequence[tuple[AnswerOutput, str]],
) -> onnx.ModelProto:
    """A copy that starts with pixels and ends with answers.

    Args:
        model: Its inputs that take pixels are called `<name>__scaled`.
        pixels: Each with the input as the model wants it.
        answers: Each with the dtype of the scores.
    """
    framed = copied(model)
    graph = framed.graph
    nodes = list(graph.node)
    del graph.node[:]
    for frame, spec in pixels:
        graph.node.extend(_scaling(frame, spec))
        graph.initializer.extend(
            numpy_helper.from_array(a, n) for n, a in _constants(frame, spec.dtype)
        )
    graph.node.extend(nodes)
    for answer, _ in answers:
        graph.node.extend(_answering(answer))
        if answer.kind == "top-k":
            count = np.array([answer.count], np.int64)
            graph.initializer.append(numpy_helper.from_array(count, f"{answer.output}__k"))
    _replace_inputs(graph, pixels)
    _replace_outputs(graph, answers)
    return framed


def factors(frame: PixelInput, dtype: str) -> tuple[Array, Array]:
    """Scale and offset as the graph holds them."""
    kind = np.dtype(dtype)
    return np.array(float(frame.scale), kind), np.array(float(frame.offset), kind)


def _constants(frame: PixelInput, dtype: str) -> list[tuple[str, Array]]:
    scale, offset = factors(frame, dtype)
    constants = [(f"{frame.input}__scale", scale)]
    return [*constants, (f"{frame.input}__offset", offset)] if frame.offset else constants


def _scaling(frame: PixelInput, spec: TensorSpec) -> list[NodeProto]:
    """Cast -> Mul (-> Add)."""
    name = frame.input
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    product = f"{name}__product" if frame.offset else name + SCALED
    nodes = [
        helper.make_node("Cast", [name], [f"{name}__cast"], name=f"{name}__cast", to=kind),
        helper.make_node("Mul", [f"{name}__cast", f"{name}__scale"], [product], name=product),
    ]
    if frame.offset:
        shifted = name + SCALED
        nodes.append(helper.make_node("Add", [product, f"{name}__offset"], [shifted], name=shifted))
    return nodes


def _answering(answer: AnswerOutput) -> list[NodeProto]:
    scores, names = answer.output, list(answer.names)
    if answer.kind == "argmax":
        return [helper.make_node("ArgMax", [scores], names, name=names[0], axis=-1, keepdims=0)]
    if answer.kind == "softmax":
        return [helper.make_node("Softmax", [scores], names, name=names[0], axis=-1)]
    return [helper.make_node("TopK", [scores, f"{scores}__k"], names, name=names[0], axis=-1)]


def _replace_inputs(
    graph: onnx.GraphProto, pixels: Sequence[tuple[PixelInput, TensorSpec]]
) -> None:
    framed = {frame.input + SCALED: spec for frame, spec in pixels}
    for value in graph.input:
        if value.name in framed:
            spec = framed[value.name]
            value.CopyFrom(
                helper.make_tensor_value_info(spec.name, onnx.TensorProto.UINT8, list(spec.shape))
            )


def _replace_outputs(graph: onnx.GraphProto, answers: Sequence[tuple[AnswerOutput, str]]) -> None:
    framed = {answer.output: (answer, dtype) for answer, dtype in answers}
    outputs = []
    for value in graph.output:
        if value.name not in framed:
            outputs.append(value)
            continue
        answer, dtype = framed[value.name]
        floating = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        kinds = {"argmax": (7,), "softmax": (floating,), "top-k": (floating, 7)}[answer.kind]
        outputs += [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip(answer.names, kinds, strict=True)
        ]
    kept = [copied(v) for v in outputs]
    del graph.output[:]
    graph.output.extend(kept)
