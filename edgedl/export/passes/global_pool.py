"""A mean over an image's height and width becomes a global average pool.

ReduceMean over every axis after the channels, kept as 1, is GlobalAveragePool, which ONNX
Runtime computes in the blocked layout that its convolutions use.

Requires: float32 of a known rank, at least 3; the result keeps its axes. Ensures: the same
mean, added up in another order.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto, TensorProto, helper

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Change, PassResult, Wiring, rewrite


def run(model: ModelProto) -> PassResult:
    """Turn every such mean into a pool."""
    return rewrite(model, _find, "mean over an image as a global pool")


def _find(graph: Wiring) -> Iterator[Change]:
    for position, node in enumerate(graph.nodes):
        if not is_op(node, "ReduceMean") or not attribute(node, "keepdims", 1):
            continue
        # ONNX Runtime's CPU has the pool in float32 only.
        rank = len(graph.shape(node.input[0]))
        if rank < 3 or graph.element(node.input[0]) != TensorProto.FLOAT:
            continue
        axes = graph.axes(node) or ()
        if sorted(a % rank for a in axes) == list(range(2, rank)):
            pool = helper.make_node(
                "GlobalAveragePool", [node.input[0]], list(node.output), name=node.name
            )
            yield Change({position: [pool]})
