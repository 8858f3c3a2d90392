"""What a pass sees of a graph, and how it makes a changed copy of it.

A pass looks for places where some nodes can give way to others, each a `Change`, and
`rewrite` carries them out on a copy. Subgraphs (If, Loop, Scan) are left alone; a value
that one reads is never taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from edgedl.export.nodes import (
    attribute,
    copied,
    inferred_types,
    is_op,
    opset_version,
    read_inside,
    replaced,
)
from edgedl.runtime.golden import Array

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class PassResult:
    """The model after a pass; the very one it was given where nothing was to be done."""

    model: ModelProto
    changed: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Change:
    """Nodes that give way, by position, each with those that take its place.

    Replacements stand where the old node stood, so what they read must be made before it.
    Nodes that nobody reads afterwards go without being named.
    """

    replaced: Mapping[int, Sequence[NodeProto]]
    constants: Mapping[str, Array] = field(default_factory=dict)


class Wiring:
    """Who makes and who reads each value of a model's main graph; read only."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.opset = opset_version(model)
        self.nodes = tuple(graph.node)
        self._made_at = {name: i for i, n in enumerate(self.nodes) for name in n.output if name}
        self._read_at: dict[str, list[int]] = {}
        for position, node in enumerate(self.nodes):
            for name in node.input:
                self._read_at.setdefault(name, []).append(position)
        inside = (read_inside(node) for node in self.nodes)
        self.held = frozenset({v.name for v in graph.output}).union(*inside)
        given = {v.name for v in graph.input}
        self._tensors = {i.name: i for i in graph.initializer if i.name not in given}
        self._names = {*given, *self._made_at, *(i.name for i in graph.initializer), *self.held}

    def position(self, name: str) -> int | None:
        """Where the node stands that makes a value; None for an input or a constant."""
        return self._made_at.get(name)

    def maker(self, name: str, *op_types: str) -> NodeProto | None:
        """The node that makes a value, if it is one of ONNX's own operators of these types."""
        position = self._made_at.get(name)
        if position is None or not is_op(self.nodes[position], *op_types):
            return None
        return self.nodes[position]

    def readers(self, name: str) -> tuple[int, ...]:
        """The positions of the nodes that read a value, once per use."""
        return tuple(self._read_at.get(name, ()))

    def is_private(self, name: str) -> bool:
        """Whether one node reads a value, once, and nobody outside does."""
        return name not in self.held and len(self.readers(name)) == 1

    def constant(self, name: str) -> Array | None:
        """A value that never changes: an initialiser that is no input, or a Constant's."""
        tensor = self._tensors.get(name)
        if tensor is None:
            node = self.maker(name, "Constant")
            tensor = attribute(node, "value") if node is not None else None
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def axes(self, node: NodeProto) -> list[int] | None:
        """The axes of a reduction: an attribute, or from opset 18 an input; None where unknown."""
        given = attribute(node, "axes")
        if given is None and len(node.input) > 1:
            given = self.constant(node.input[1])
        return None if given is None else [int(axis) for axis in given]

    def element(self, name: str) -> int | None:
        """A value's element type, as TensorProto numbers them; None where it isn't known."""
        if name in self._tensors:
            return int(self._tensors[name].data_type)
        kind = self._inferred.get(name)
        return int(kind.elem_type) if kind is not None and kind.elem_type else None

    def shape(self, name: str) -> Shape:
        """A value's shape: sizes, names, None; empty where its rank isn't known.

        Two axes of one name have one size.
        """
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        kind = self._inferred.get(name)
        if kind is None or not kind.HasField("shape"):
            return ()
        return tuple(
            int(d.dim_value) if d.HasField("dim_value") else d.dim_param or None
            for d in kind.shape.dim
        )

    @cached_property
    def _inferred(self) -> Mapping[str, onnx.TypeProto.Tensor]:
        return inferred_types(self.model)

    def fresh(self, name: str) -> str:
        """A name like this one that nothing in the graph has."""
        return next(n for i in count() if (n := f"{name}__{i}") not in self._names)


def copy_node(node: NodeProto, inputs: Sequence[str]) -> NodeProto:
    """The same node reading other values."""
    copy = copied(node)
    copy.input[:] = inputs
    return copy


def rewrite(model: ModelProto, find: Callable[[Wiring], Iterable[Change]], what: str) -> PassResult:
    """Carry out what `find` finds, again and again until it finds nothing more.

    Args:
        model: Left as it is.
        find: Changes to a graph. Of two that touch one node, the later waits for its turn.
        what: What is done at each place, for the detail.
    """
    done = 0
    current = model
    while changes := _disjoint(find(Wiring(current))):
        nodes = {at: nodes for c in changes for at, nodes in c.replaced.items()}
        constants = {name: array for c in changes for name, array in c.constants.items()}
        current = replaced(current, nodes, constants)
        done += len(changes)
    return PassResult(current, done > 0, f"{done} x {what}" if done else "")


def _disjoint(changes: Iterable[Change]) -> list[Change]:
    touched: set[int] = set()
    chosen = []
    for change in changes:
        if not touched & change.replaced.keys():
            touched |= change.replaced.keys()
            chosen.append(change)
    return chosen
