"""Nodes and weights of a model's outer graph: looked at, and replaced in a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgedl.export.nodes import attribute, copied, is_op, names_read, replaced
from edgedl.runtime.golden import Array


def prepared(model: ModelProto) -> ModelProto:
    """A copy whose nodes have names of their own and whose Constant nodes are initialisers.

    Quantisers call nodes by name and look for weights among the initialisers.
    """
    copy = copied(model)
    graph = copy.graph
    outputs = {value.name for value in graph.output}
    kept = []
    for node in model.graph.node:
        value = attribute(node, "value") if is_op(node, "Constant") else None
        if value is not None and node.output[0] not in outputs:
            constant = graph.initializer.add()
            constant.CopyFrom(value)
            constant.name = node.output[0]
        else:
            kept.append(copied(node))
    _give_names(kept)
    del graph.node[:]
    graph.node.extend(kept)
    return copy


def _give_names(nodes: Sequence[NodeProto]) -> None:
    taken: set[str] = set()
    for position, node in enumerate(nodes):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def weights_of(model: ModelProto) -> dict[str, TensorProto]:
    """The outer graph's initialisers by name."""
    return {i.name: i for i in model.graph.initializer}


def float_weight(weights: Mapping[str, TensorProto], name: str) -> Array | None:
    """A float32 initialiser's values; None where the name is no such initialiser, or where it
    holds infinity, which can't be scaled or factored.
    """
    tensor = weights.get(name)
    if tensor is None or tensor.data_type != TensorProto.FLOAT:
        return None
    values = np.asarray(numpy_helper.to_array(tensor))
    return values if np.isfinite(values).all() else None


def rewritten(
    model: ModelProto,
    replacements: Mapping[str, Sequence[NodeProto]],
    added: Mapping[str, Array],
) -> ModelProto:
    """A copy with nodes replaced by name; see `edgedl.export.nodes.replaced`.

    Args:
        model: A model whose nodes have names of their own; see `prepared`.
        replacements: For a node's name the nodes that stand in its place.
        added: More initialisers.
    """
    by_position = {
        position: replacements[node.name]
        for position, node in enumerate(model.graph.node)
        if node.name in replacements
    }
    return replaced(model, by_position, added)


def in_order(model: ModelProto) -> ModelProto:
    """A copy whose nodes stand behind what they read, as the format asks for.

    ONNX Runtime's quantisers append nodes at the end.
    """
    copy = copied(model)
    waiting = list(model.graph.node)
    made_here = {name for node in waiting for name in node.output}
    made: set[str] = set()
    ordered: list[NodeProto] = []
    while waiting:
        ready = [n for n in waiting if not (names_read(n) & made_here) - made]
        if not ready:  # a circle: onnx.checker says so
            ready = waiting
        ordered += ready
        made |= {name for node in ready for name in node.output}
        taken = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in taken]
    del copy.graph.node[:]
    copy.graph.node.extend(ordered)
    return copy
