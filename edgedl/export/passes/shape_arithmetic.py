"""A Reshape whose shape is computed at run time gets a constant one where that is the same.

Converters compute shapes node by node (Shape, Gather, ReduceProd, Concat, ...) to keep every
axis free. Here each computed element is followed as a product of a number and axes' names;
where the target then is known but for one element, -1 says the same, and the nodes that
computed it go.

Requires: every element is a product of known sizes and axes of the values it was computed
from. Ensures: the same shapes wherever the model ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Change, PassResult, Wiring, rewrite

MOST_DEPTH = 24


@dataclass(frozen=True)
class Size:
    """A number times axes: `Size(2, ("batch",))` is twice the batch."""

    number: int
    axes: tuple[str, ...] = ()

    def __mul__(self, other: Size) -> Size:
        return Size(self.number * other.number, tuple(sorted((*self.axes, *other.axes))))

    def over(self, other: Size) -> Size | None:
        """The quotient, where it is a size."""
        left = Counter(self.axes)
        left.subtract(other.axes)
        if other.number == 0 or self.number % other.number or min(left.values(), default=0) < 0:
            return None
        return Size(self.number // other.number, tuple(sorted(left.elements())))


Sizes = tuple[Size, ...]


def run(model: ModelProto) -> PassResult:
    """Make every such shape a constant."""
    return rewrite(model, _find, "computed shape as a constant")


def _find(graph: Wiring) -> Iterator[Change]:
    for position, node in enumerate(graph.nodes):
        if not is_op(node, "Reshape") or graph.constant(node.input[1]) is not None:
            continue
        before = _shape_of(graph, node.input[0])
        target = _value(graph, node.input[1], MOST_DEPTH)
        if before is None or target is None:
            continue
        constant = _constant(before, _resolved(before, target, node))
        if constant is None:
            continue
        name = graph.fresh(f"{node.output[0]}_shape")
        reshape = helper.make_node(
            "Reshape", [node.input[0], name], list(node.output), name=node.name
        )
        yield Change({position: [reshape]}, {name: np.array(constant, np.int64)})


def _resolved(before: Sizes, target: Sizes, node: NodeProto) -> Sizes | None:
    """The shape that a target means: 0 is the input's axis, -1 what is left."""
    zero_means_axis = not attribute(node, "allowzero", 0)
    shape = [
        before[axis] if size == Size(0) and zero_means_axis and axis < len(before) else size
        for axis, size in enumerate(target)
    ]
    free = [axis for axis, size in enumerate(shape) if size == Size(-1)]
    if len(free) > 1 or Size(0) in shape:
        return None
    if free:
        others = prod((s for s in shape if s != Size(-1)), start=Size(1))
        left = prod(before, start=Size(1)).over(others)
        if left is None:
            return None
        shape[free[0]] = left
    return tuple(shape)


def _constant(before: Sizes, shape: Sizes | None) -> list[int] | None:
    """The shape in numbers, 0 for an axis that stays and at most one -1; None if it takes more."""
    if shape is None:
        return None
    numbers = [
        size.number if not size.axes else 0 if axis < len(before) and before[axis] == size else -1
        for axis, size in enumerate(shape)
    ]
    return numbers if numbers.count(-1) <= 1 else None


def _shape_of(graph: Wiring, name: str) -> Sizes | None:
    """A value's shape; an axis of unknown size is called after the value."""
    shape = graph.shape(name)
    if not shape:
        return None
    return tuple(
        Size(d) if isinstance(d, int) else Size(1, (d or f"{name}@{axis}",))
        for axis, d in enumerate(shape)
    )


def _value(graph: Wiring, name: str, depth: int) -> Sizes | None:
    """The elements of an integer value, a list or a scalar; None where they aren't known."""
    constant = graph.constant(name)
    if constant is not None:
        whole = constant.ndim <= 1 and constant.dtype.kind == "i"
        return tuple(Size(int(n)) for n in constant.reshape(-1)) if whole else None
    position = graph.position(name)
    if position is None or depth == 0:
        return None
    node = graph.nodes[position]
    if is_op(node, "Shape"):
        shape = _shape_of(graph, node.input[0])
        first, last = attribute(node, "start", 0), attribute(node, "end")
        return None if shape is None else shape[first:last]
    if is_op(node, "Concat"):
        parts = [_value(graph, n, depth - 1) for n in node.input]
        return None if None in parts else tuple(s for p in parts if p is not None for s in p)
    return _of_first(graph, node, depth)


def _of_first(graph: Wiring, node: NodeProto, depth: int) -> Sizes | None:
    """What a node makes of its first input's elements."""
    values = _value(graph, node.input[0], depth - 1) if node.input else None
    if values is None:
        return None
    if is_op(node, "Cast", "Squeeze", "Unsqueeze", "Identity"):
        return values
    if is_op(node, "Reshape"):
        return values if graph.shape(node.output[0]) in ((), (len(values),)) else None
    if is_op(node, "Mul", "Max", "Min"):
        other = _value(graph, node.input[1], depth - 1) if len(node.input) == 2 else None
        return _combined(node.op_type, values, other)
    if is_op(node, "ReduceProd") and len(node.input) == 1:
        axes = attribute(node, "axes")
        return (prod(values, start=Size(1)),) if axes in (None, [0], [-1]) else None
    constants = [graph.constant(n) for n in node.input[1:]]
    if any(c is None for c in constants):
        return None
    return _picked(node, values, [[int(n) for n in np.ravel(c)] for c in constants])  # type: ignore[arg-type]


def _combined(op_type: str, ours: Sizes, theirs: Sizes | None) -> Sizes | None:
    if theirs is None or len(ours) != len(theirs):
        return None
    if op_type == "Mul":
        return tuple(a * b for a, b in zip(ours, theirs, strict=True))
    return ours if ours == theirs else None


def _picked(node: NodeProto, values: Sizes, numbers: Sequence[list[int]]) -> Sizes | None:
    """Some of the elements: Gather by constant positions, Slice of one axis."""
    if is_op(node, "Gather") and attribute(node, "axis", 0) == 0:
        fits = all(-len(values) <= n < len(values) for n in numbers[0])
        return tuple(values[n] for n in numbers[0]) if fits else None
    if is_op(node, "Slice") and len(numbers) >= 2:
        (start,), (stop,) = numbers[:2]
        step = numbers[3][0] if len(numbers) > 3 else 1
        return values[start:stop:step] if step > 0 else None
    return None
