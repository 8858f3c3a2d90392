"""A dense layer at every position, flattened and unflattened around it, becomes one product.

Reshape to (rows, features) -> Gemm or MatMul with constant weights -> Reshape back becomes
MatMul (and Add): ONNX's MatMul works at every position by itself. onnxsim writes the longer
form of a torch Linear, with the shape computed in four more nodes; tf2onnx of a Keras Dense.

Requires: the second Reshape gives the input's own axes and the layer's units. Ensures: the
same products and sums, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Change, PassResult, Shape, Wiring, rewrite
from edgedl.runtime.golden import Array


def run(model: ModelProto) -> PassResult:
    """Undo every such pair of reshapes."""
    return rewrite(model, _find, "dense layer without reshapes around it")


def _find(graph: Wiring) -> Iterator[Change]:
    for position, back in enumerate(graph.nodes):
        if not is_op(back, "Reshape"):
            continue
        dense = graph.maker(back.input[0], "Gemm", "MatMul")
        if dense is None or not graph.is_private(dense.output[0]):
            continue
        rows = graph.maker(dense.input[0], "Reshape", "Flatten")
        weights = _weights(graph, dense)
        if rows is None or weights is None or rows.output[0] in graph.held:
            continue
        before = graph.shape(rows.input[0])
        if _is_inverse(graph, back, before, weights.shape[1]) and _makes_rows(graph, rows, before):
            yield _direct(graph, position, rows.input[0], dense, weights)


def _weights(graph: Wiring, dense: NodeProto) -> Array | None:
    """Weights as (features, units); None where the layer is more than a product and a bias."""
    scales = {attribute(dense, name, 1.0) for name in ("alpha", "beta")}
    weights = graph.constant(dense.input[1])
    if attribute(dense, "transA", 0) or scales != {1.0} or weights is None or weights.ndim != 2:
        return None
    weights = weights.T if attribute(dense, "transB", 0) else weights
    # A bias per row would be one per position.
    if len(dense.input) > 2 and graph.shape(dense.input[2])[-2:] not in (
        (weights.shape[1],),
        (1, weights.shape[1]),
    ):
        return None
    return weights


def _makes_rows(graph: Wiring, node: NodeProto, before: Shape) -> bool:
    """Whether a node keeps the last axis and lays all others on one."""
    if len(before) < 3 or not isinstance(before[-1], int):
        return False
    if node.op_type == "Flatten":
        return int(attribute(node, "axis", 1)) in (len(before) - 1, -1)
    shape = graph.constant(node.input[1])
    return shape is not None and shape.tolist() == [-1, before[-1]]


def _is_inverse(graph: Wiring, back: NodeProto, before: Shape, units: int) -> bool:
    """Whether a Reshape gives the axes that there were before, and the units."""
    wanted = (*before[:-1], units)
    target = graph.constant(back.input[1])
    if target is None:
        known = graph.shape(back.output[0])
        return None not in wanted and known == wanted
    # With one free axis the number of elements says its size; 0 would mean the rows.
    fits = [d == w for d, w in zip(target.tolist(), wanted, strict=False) if d != -1]
    return len(target) == len(wanted) and all(fits) and len(fits) >= len(wanted) - 1


def _direct(graph: Wiring, position: int, value: str, dense: NodeProto, weights: Array) -> Change:
    back = graph.nodes[position]
    constants: dict[str, Array] = {}
    name = dense.input[1]
    if attribute(dense, "transB", 0):
        name = graph.fresh(name)
        constants[name] = np.ascontiguousarray(weights)
    bias = dense.input[2] if len(dense.input) > 2 else ""
    product = graph.fresh(dense.output[0]) if bias else back.output[0]
    nodes = [helper.make_node("MatMul", [value, name], [product], name=f"{product}_matmul")]
    if bias:
        nodes.append(
            helper.make_node("Add", [product, bias], [back.output[0]], name=f"{product}_add")
        )
    return Change({position: nodes}, constants)
