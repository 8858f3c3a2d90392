"""A layer normalisation that is spread over a dozen nodes becomes ONNX's own operator.

Keras computes (x - mean) / sqrt(variance + epsilon) * gamma + beta as
x * scale + (beta - mean * scale), which ONNX Runtime's own fusion doesn't know.

Requires: opset 17; float32; mean and variance over the last axis. Ensures: the same up to
rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Change, PassResult, Wiring, rewrite
from edgedl.runtime.golden import Array

LEAST_OPSET = 17


@dataclass(frozen=True)
class _Norm:
    """What is normalised, and with what."""

    value: str
    epsilon: float
    gamma: Array
    beta: Array | None


def run(model: ModelProto) -> PassResult:
    """Replace every such normalisation."""
    return rewrite(model, _find, "layer normalisation as one operator")


def _find(graph: Wiring) -> Iterator[Change]:
    if graph.opset < LEAST_OPSET:
        return
    for position, last in enumerate(graph.nodes):
        if not is_op(last, "Add"):
            continue
        for scaled, shift in (tuple(last.input), tuple(reversed(last.input))):
            norm = _norm(graph, scaled, shift)
            if norm is not None:
                yield _one_operator(graph, position, norm)
                break


def _one_operator(graph: Wiring, position: int, norm: _Norm) -> Change:
    output = graph.nodes[position].output[0]
    names = {"gamma": graph.fresh(f"{output}_gamma"), "beta": graph.fresh(f"{output}_beta")}
    constants = {names["gamma"]: norm.gamma}
    inputs = [norm.value, names["gamma"]]
    if norm.beta is not None:
        constants[names["beta"]] = norm.beta
        inputs.append(names["beta"])
    node = helper.make_node(
        "LayerNormalization", inputs, [output], name=output, axis=-1, epsilon=norm.epsilon
    )
    return Change({position: [node]}, constants)


def _norm(graph: Wiring, scaled: str, shift: str) -> _Norm | None:
    """What is normalised where it is value * scale + (beta - mean * scale)."""
    product = graph.maker(scaled, "Mul")
    if product is None:
        return None
    for value, scale in (tuple(product.input), tuple(reversed(product.input))):
        deviation = _scale(graph, value, scale)
        if deviation is None:
            continue
        mean, epsilon, gamma = deviation
        found, beta = _shift(graph, shift, mean, scale)
        size = graph.shape(value)[-1]
        fits = gamma.size == size and (beta is None or beta.size == size)
        if found and fits:
            return _Norm(value, epsilon, gamma.reshape(-1), beta)
    return None


def _scale(graph: Wiring, value: str, scale: str) -> tuple[str, float, Array] | None:
    """Of gamma / sqrt(variance + epsilon) the mean's name, epsilon and gamma."""
    if graph.element(value) != TensorProto.FLOAT or not graph.shape(value):
        return None
    node = graph.maker(scale, "Mul")
    if node is None:
        return None
    split = _with_constant(graph, node)
    if split is None:
        return None
    inverse, gamma = split
    root = _only_input(graph, _only_input(graph, inverse, "Reciprocal"), "Sqrt")
    total = graph.maker(root, "Add")
    parts = _with_constant(graph, total) if total is not None else None
    if parts is None or parts[1].size != 1 or gamma.dtype != np.float32:
        return None
    mean = _variance_of(graph, parts[0], value)
    return (mean, float(parts[1].reshape(())), gamma) if mean else None


def _only_input(graph: Wiring, name: str, op_type: str) -> str:
    node = graph.maker(name, op_type) if name else None
    return str(node.input[0]) if node is not None else ""


def _with_constant(graph: Wiring, node: NodeProto) -> tuple[str, Array] | None:
    """A node's other input and its constant one."""
    for other, name in (tuple(node.input), tuple(reversed(node.input))):
        array = graph.constant(name)
        if array is not None:
            return other, array
    return None


def _variance_of(graph: Wiring, variance: str, value: str) -> str:
    """The mean's name, where a value is mean((value - mean(value)) ** 2); else empty."""
    squared = _mean_of(graph, variance)
    square = graph.maker(squared, "Mul") if squared else None
    if square is None or square.input[0] != square.input[1]:
        return ""
    difference = graph.maker(square.input[0], "Sub")
    if difference is None:
        return ""
    for a, b in (tuple(difference.input), tuple(reversed(difference.input))):
        if a == value and _mean_of(graph, b) == value:
            return str(b)
    return ""


def _mean_of(graph: Wiring, name: str) -> str:
    """What a value is the mean of, over the last axis alone, which is kept; else empty."""
    node = graph.maker(name, "GlobalAveragePool", "ReduceMean")
    if node is None:
        return ""
    rank = len(graph.shape(node.input[0]))
    if node.op_type == "GlobalAveragePool":
        return str(node.input[0]) if rank == 3 else ""
    axes = graph.axes(node)
    last = rank > 0 and axes is not None and [a % rank for a in axes] == [rank - 1]
    return str(node.input[0]) if last and attribute(node, "keepdims", 1) else ""


def _shift(graph: Wiring, shift: str, mean: str, scale: str) -> tuple[bool, Array | None]:
    """Whether a value is beta - mean * scale, and beta; None where it is zero."""
    node = graph.maker(shift, "Add", "Sub")
    if node is not None and node.op_type == "Sub":
        beta = graph.constant(node.input[0])
        product = graph.maker(node.input[1], "Mul")
        found = product is not None and set(product.input) == {mean, scale}
        return (found and beta is not None), None if beta is None else beta.reshape(-1)
    if node is not None:
        split = _with_constant(graph, node)
        if split is None:
            return False, None
        return _negative(graph, split[0], mean, scale), split[1].reshape(-1)
    return _negative(graph, shift, mean, scale), None


def _negative(graph: Wiring, name: str, mean: str, scale: str) -> bool:
    """Whether a value is -mean * scale."""
    product = graph.maker(name, "Mul")
    if product is None or scale not in product.input:
        return False
    other = next((n for n in product.input if n != scale), "")
    return _only_input(graph, other, "Neg") == mean
