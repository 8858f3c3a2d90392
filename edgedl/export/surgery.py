"""Nodes and weights of a model's outer graph: looked at, and replaced in a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgedl.runtime.golden import Array

MICROSOFT = "com.microsoft"


def prepared(model: ModelProto) -> ModelProto:
    """A copy whose nodes have names of their own and whose Constant nodes are initialisers.

    Quantisers call nodes by name and look for weights among the initialisers.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if (
            node.op_type == "Constant"
            and value is not None
            and node.output[0] not in _outputs(copy)
        ):
            constant = graph.initializer.add()
            constant.CopyFrom(value)
            constant.name = node.output[0]
        else:
            kept.append(node)
    _give_names(kept)
    replaced = [_copied(node) for node in kept]
    del graph.node[:]
    graph.node.extend(replaced)
    return copy


def _give_names(nodes: Sequence[NodeProto]) -> None:
    taken: set[str] = set()
    for position, node in enumerate(nodes):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _copied(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _outputs(model: ModelProto) -> set[str]:
    return {value.name for value in model.graph.output}


def weights_of(model: ModelProto) -> dict[str, TensorProto]:
    """The outer graph's initialisers by name."""
    return {i.name: i for i in model.graph.initializer}


def float_weight(weights: Mapping[str, TensorProto], name: str) -> Array | None:
    """A float32 initialiser's values; None where the name is no such initialiser."""
    tensor = weights.get(name)
    if tensor is None or tensor.data_type != TensorProto.FLOAT:
        return None
    return np.asarray(numpy_helper.to_array(tensor))


def attribute(node: NodeProto, name: str, default: object) -> object:
    """A node's attribute, or what the operator takes where it has none."""
    for held in node.attribute:
        if held.name == name:
            return helper.get_attribute_value(held)
    return default


def rewritten(
    model: ModelProto,
    replacements: Mapping[str, Sequence[NodeProto]],
    added: Mapping[str, Array],
) -> ModelProto:
    """A copy with nodes replaced and initialisers added.

    Args:
        model: A model whose nodes have names of their own; see `prepared`.
        replacements: For a node's name the nodes that stand in its place.
        added: More initialisers; those that are no longer used are dropped.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    nodes = [new for node in model.graph.node for new in replacements.get(node.name, (node,))]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in added.items())
    _drop_unused(copy)
    domains = {o.domain for o in copy.opset_import}
    if MICROSOFT not in domains and any(n.domain == MICROSOFT for n in graph.node):
        copy.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return copy


def _drop_unused(model: ModelProto) -> None:
    graph = model.graph
    used = _outputs(model) | {name for node in graph.node for name in names_read(node)}
    kept = [i for i in graph.initializer if i.name in used]
    if len(kept) < len(graph.initializer):
        copies = [TensorProto.FromString(i.SerializeToString()) for i in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def names_read(node: NodeProto) -> set[str]:
    """What a node reads, its subgraphs' nodes included."""
    names = set(node.input)
    for held in node.attribute:
        for graph in (*([held.g] if held.type == onnx.AttributeProto.GRAPH else ()), *held.graphs):
            names |= {v.name for v in graph.output}
            for inner in graph.node:
                names |= names_read(inner)
    return names


def in_order(model: ModelProto) -> ModelProto:
    """A copy whose nodes stand behind what they read, as the format asks for.

    ONNX Runtime's quantisers append nodes at the end.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
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
