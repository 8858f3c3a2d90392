"""Parts of a model that are run by themselves, and models that show their inner tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from edgedl.export.locate.matching import INPUT, Match
from edgedl.export.nodes import copied, inferred_types, names_read, subgraphs
from edgedl.runtime.golden import Array

# Behind the name of a tensor that holds 8-bit numbers: the same as floats.
AS_FLOAT = "__as_float"


def shown_name(match: Match) -> str:
    """The name under which a model shows a matched tensor as floats."""
    return match.measured + AS_FLOAT if match.scale else match.measured


def showing(model: ModelProto, tensors: Iterable[str], nodes: Sequence[NodeProto] = ()) -> bytes:
    """The model with these tensors for outputs, `nodes` added to it; serialised."""
    shown = copied(model)
    shown.graph.node.extend(nodes)
    del shown.graph.output[:]
    # The type is left for ONNX Runtime to infer.
    shown.graph.output.extend(ValueInfoProto(name=name) for name in tensors)
    content: bytes = shown.SerializeToString()
    return content


def dequantise(match: Match) -> list[NodeProto]:
    """What shows a tensor of 8-bit numbers as floats; nothing where it holds floats."""
    if match.scale is None:
        return []
    return [
        helper.make_node("DequantizeLinear", [match.measured, *match.scale], [shown_name(match)])
    ]


class Anatomy:
    """A model's nodes and constants, looked up by tensor."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self._nodes = list(model.graph.node)
        self._makers = {name: i for i, n in enumerate(self._nodes) for name in n.output if name}
        self._constants = {i.name: i for i in model.graph.initializer}
        self._types = {
            name: helper.tensor_dtype_to_np_dtype(kind.elem_type)
            for name, kind in inferred_types(model).items()
            if kind.elem_type
        }

    def as_read(self, name: str, value: Array) -> Array:
        """A value in the number format that the model holds this tensor in."""
        wanted = self._types.get(name, value.dtype)
        return value if value.dtype == wanted else value.astype(wanted)

    def part(self, target: str, stops: Mapping[str, Match]) -> tuple[list[NodeProto], set[str]]:
        """The nodes that make the target from the stops, and the tensors that go in."""
        found: set[int] = set()
        enters: set[str] = set()
        waiting = [target]
        while waiting:
            name = waiting.pop()
            maker = self._makers.get(name)
            if (name in stops and name != target) or maker is None:
                if name not in self._constants:
                    enters.add(name)
            elif maker not in found:
                found.add(maker)
                node = self._nodes[maker]
                waiting.extend(n for n in names_read(node) - _made_inside(node) if n)
        return [self._nodes[i] for i in sorted(found)], enters

    def excerpt(
        self,
        targets: Mapping[str, Match],
        stops: Mapping[str, Match],
        values: Mapping[str, Array],
    ) -> bytes:
        """A model of the parts that make matched tensors, side by side; serialised.

        Args:
            targets: The matched tensors, each under the prefix that its part's names get.
            stops: The variant's tensors that are fed, each with its match.
            values: The reference's values, which tell the types of what is fed.
        """
        nodes: list[NodeProto] = []
        enters: set[str] = set()
        for prefix, match in targets.items():
            part, fed = self.part(match.measured, others(stops, match))
            part = [*part, *dequantise(match)]
            made = {name: prefix + name for node in part for name in node.output if name}
            nodes += [_renamed(node, made) for node in part]
            enters |= fed
        before = [n for name in sorted(enters) if name in stops for n in _quantise(stops[name])]
        inputs = [
            _typed(
                fed_name(name, stops),
                self.as_read(
                    fed_name(name, stops), values[stops[name].tensor if name in stops else name]
                ),
            )
            for name in sorted(enters)
        ]
        used = {name for node in (*before, *nodes) for name in names_read(node)}
        graph = helper.make_graph(
            [*before, *nodes],
            "parts",
            inputs,
            [ValueInfoProto(name=prefix + shown_name(m)) for prefix, m in targets.items()],
            [self._constants[name] for name in sorted(used & self._constants.keys())],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        model.ir_version = self.model.ir_version
        content: bytes = model.SerializeToString()
        return content


def others(stops: Mapping[str, Match], match: Match) -> dict[str, Match]:
    """Where a part of the variant begins: at every matched tensor but its own.

    An input's own rounding begins at the input itself.
    """
    return {k: m for k, m in stops.items() if m is not match or match.operator == INPUT}


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    copy = copied(node)
    copy.name = ""  # it may stand in several parts
    _rename(copy, names)
    return copy


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node reads and makes, and what its subgraphs read of the outer graph."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for value in graph.output:
            value.name = names.get(value.name, value.name)


def fed_name(name: str, stops: Mapping[str, Match]) -> str:
    """What an excerpt calls the tensor that it is fed for one of the variant's."""
    return name + AS_FLOAT if name in stops and stops[name].scale else name


def _quantise(match: Match) -> list[NodeProto]:
    if match.scale is None:
        return []
    fed = match.enters + AS_FLOAT
    return [helper.make_node("QuantizeLinear", [fed, *match.scale], [match.enters])]


def _typed(name: str, value: Array) -> ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(name, element, None)


def _made_inside(node: NodeProto) -> set[str]:
    """Names that a node's subgraphs make for themselves."""
    names: set[str] = set()
    for graph in subgraphs(node):
        names |= {v.name for v in graph.input} | {i.name for i in graph.initializer}
        for inner in graph.node:
            names |= {*inner.output} | _made_inside(inner)
    return names
