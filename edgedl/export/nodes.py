"""The nodes of an ONNX graph: found in subgraphs too, read, copied, and replaced in a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgedl.runtime.golden import Array

MICROSOFT = "com.microsoft"
ONNX = ("", "ai.onnx")

Message = TypeVar("Message", ModelProto, NodeProto, onnx.TensorProto, onnx.ValueInfoProto)


def copied(message: Message) -> Message:
    """The same message, in memory of its own."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The bodies of an If, a Loop or a Scan."""
    found: list[GraphProto] = []
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every subgraph."""
    yield graph
    for node in graph.node:
        for subgraph in subgraphs(node):
            yield from graphs(subgraph)


def every_node(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, those of subgraphs included."""
    for part in graphs(graph):
        yield from part.node


def inner_nodes(node: NodeProto) -> Iterator[NodeProto]:
    """The nodes of a node's subgraphs, however deep: an If's branches, a Loop's body."""
    for subgraph in subgraphs(node):
        yield from every_node(subgraph)


def names_read(node: NodeProto) -> set[str]:
    """What a node reads, and what its subgraphs read or give out, their own values included."""
    return set(node.input) | read_inside(node)


def read_inside(node: NodeProto) -> set[str]:
    """What a node's subgraphs read or give out, their own values included."""
    parts = [part for subgraph in subgraphs(node) for part in graphs(subgraph)]
    names = {value.name for part in parts for value in part.output}
    return names | {name for part in parts for inner in part.node for name in inner.input}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or the default where the node hasn't got it."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def is_op(node: NodeProto, *op_types: str) -> bool:
    """Whether a node is one of ONNX's own operators of these types."""
    return node.domain in ONNX and node.op_type in op_types


def opset_version(model: ModelProto) -> int:
    """The version of ONNX's own operator set."""
    return max(int(o.version) for o in model.opset_import if o.domain in ONNX)


def inferred_types(model: ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Every tensor's type and shape as far as ONNX's inference knows it."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    return {v.name: v.type.tensor_type for v in values if v.type.HasField("tensor_type")}


def replaced(
    model: ModelProto,
    replacements: Mapping[int, Sequence[NodeProto]],
    constants: Mapping[str, Array],
) -> ModelProto:
    """A copy with nodes of the outer graph replaced.

    Nodes and initialisers that nobody reads afterwards go without being named. Shapes
    recorded inside the graph are dropped: they may be others now.

    Args:
        model: Left as it is.
        replacements: For a node's position the nodes that stand in its place.
        constants: Initialisers to add.
    """
    changed = copied(model)
    graph = changed.graph
    nodes = [new for i, node in enumerate(model.graph.node) for new in replacements.get(i, (node,))]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    _fill(graph, nodes, [*model.graph.initializer, *tensors])
    del graph.value_info[:]
    domains = {o.domain for o in changed.opset_import}
    if MICROSOFT not in domains and any(n.domain == MICROSOFT for n in graph.node):
        changed.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return changed


def _fill(
    graph: GraphProto, nodes: Sequence[NodeProto], tensors: Sequence[onnx.TensorProto]
) -> None:
    """Put in nodes and initialisers, but for those that nobody reads."""
    held = {value.name for value in graph.output}
    reads = Counter(name for node in nodes for name in names_read(node))
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if any(reads[name] or name in held for name in node.output if name):
            kept.append(node)
        else:
            reads.subtract(names_read(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    used = [t for t in tensors if reads[t.name] > 0 or t.name in held]
    del graph.initializer[:]
    graph.initializer.extend(used)
