"""A constant factor before a convolution or a dense layer goes into its weights.

Pixels are scaled before the first layer (`--input-uint8`, Keras' Rescaling): as many products
as there are pixels, where the layer's weights can be scaled once and for all.

Requires: one floating factor; between it and the layer only nodes that move elements, each
read by the next alone; constant weights. Ensures: the same products up to rounding. Zeros of
a padding stay zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto

from edgedl.export.nodes import is_op
from edgedl.export.passes.wiring import Change, PassResult, Wiring, copy_node, rewrite
from edgedl.runtime.golden import Array

MOVING = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def run(model: ModelProto) -> PassResult:
    """Fold every such factor."""
    return rewrite(model, _find, "constant factor folded into weights")


def _find(graph: Wiring) -> Iterator[Change]:
    for position, node in enumerate(graph.nodes):
        factor = _factor(graph, node)
        if factor is None:
            continue
        scaled, value = factor
        layer = _layer(graph, node.output[0])
        if layer is None:
            continue
        weights = graph.constant(graph.nodes[layer].input[1])
        moved = _first_reader(graph, node.output[0])
        if weights is None or weights.dtype != value.dtype or node.output[0] in graph.held:
            continue
        first = graph.nodes[moved]
        name = graph.fresh(graph.nodes[layer].input[1])
        constants = {name: np.asarray(weights * value.reshape(()), weights.dtype)}
        replaced: dict[int, list[NodeProto]] = {position: [node]}
        rest = graph.nodes[layer]
        if moved == layer:
            replaced[layer] = [copy_node(rest, [scaled, name, *rest.input[2:]])]
        else:
            replaced[moved] = [copy_node(first, [scaled, *first.input[1:]])]
            replaced[layer] = [copy_node(rest, [rest.input[0], name, *rest.input[2:]])]
        yield Change(replaced, constants)


def _factor(graph: Wiring, node: NodeProto) -> tuple[str, Array] | None:
    """What is scaled, and with what: Mul by a constant, or Div by one."""
    if not is_op(node, "Mul", "Div"):
        return None
    pairs = [tuple(node.input)]
    if node.op_type == "Mul":
        pairs.append((node.input[1], node.input[0]))
    for value, name in pairs:
        constant = graph.constant(name)
        # A factor of more axes than the value would add axes to it.
        if constant is None or constant.size != 1 or constant.ndim > len(graph.shape(value)):
            continue
        if constant.dtype in (np.float32, np.float64) and np.all(constant != 0):
            one = np.ones((), constant.dtype)
            return value, constant if node.op_type == "Mul" else one / constant
    return None


def _first_reader(graph: Wiring, name: str) -> int:
    return graph.readers(name)[0]


def _layer(graph: Wiring, name: str) -> int | None:
    """Where the layer stands that a value goes to through nodes that only move elements."""
    while graph.is_private(name):
        position = _first_reader(graph, name)
        node = graph.nodes[position]
        if node.input[0] != name:
            return None
        if is_op(node, "Conv", "MatMul", "Gemm"):
            return position
        if not is_op(node, *MOVING):
            return None
        name = node.output[0]
    return None
