"""Channels that may go: a layer's outputs, followed to the linear layers that read them.

A Conv's filters or a dense layer's units are followed through operators that treat every
channel alike and apart (activations, pools, per-channel constants, depthwise convolutions,
layouts) to layers that are linear in them. Whatever else reads one ties the channel to its
place: then the layer is left alone, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Shape, Wiring
from edgedl.runtime.golden import Array

LAYERS = ("Conv", "MatMul", "Gemm")
# One value out of one value, or out of the channel's neighbourhood in space.
ALIKE = frozenset({
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "Tanh", "Softplus", "Softsign",
    "HardSigmoid", "HardSwish", "Mish", "ThresholdedRelu", "Identity", "Abs", "Neg", "Exp", "Log",
    "Sqrt", "Erf", "Reciprocal", "Clip",
})  # fmt: skip
POOLS = frozenset({"MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"})
PAIRS = frozenset({"Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu"})


class TiedError(Exception):
    """Why a layer's channels must stay; `find_groups` catches it."""


@dataclass(frozen=True)
class Lane:
    """Where the channels of a value lie: in the middle of an axis.

    The axis has `outer * channels * inner` elements; only a flattened one has more than the
    channels. `rank` is the value's.
    """

    axis: int
    rank: int
    channels: int
    outer: int = 1
    inner: int = 1

    @property
    def size(self) -> int:
        """Elements of the axis."""
        return self.outer * self.channels * self.inner

    @property
    def plain(self) -> bool:
        """Whether the axis holds the channels only."""
        return self.size == self.channels

    def rows(self, array: Array) -> Array:
        """The array as (anything, channels)."""
        split = np.moveaxis(array, self.axis, -1)
        split = split.reshape(-1, self.outer, self.channels, self.inner)
        return split.swapaxes(-1, -2).reshape(-1, self.channels)

    def of_constant(self, rank: int) -> int:
        """The axis of the channels in what is broadcast against the value; negative if none."""
        return self.axis - (self.rank - rank)


@dataclass(frozen=True)
class Slot:
    """An input of a node, and how the channels lie in it."""

    node: int
    place: int
    lane: Lane


@dataclass(frozen=True)
class End:
    """A linear layer that reads the channels: `value` through `weight`.

    `bias` is where a constant may be added to its output, as (node, input); None where none
    can: at its border, a padded convolution sees zeros instead of what the constant stands for.
    """

    value: str
    seen: Lane
    weight: Slot
    bias: tuple[int, int] | None


@dataclass(frozen=True)
class Group:
    """A layer's channels: what shrinks with them, and who reads them.

    `cut` are the weights with an entry for each channel, `flat` the targets of Reshapes.
    """

    name: str
    channels: int
    cut: tuple[Slot, ...]
    flat: tuple[Slot, ...]
    ends: tuple[End, ...]


def find_groups(graph: Wiring, most: int) -> tuple[tuple[Group, ...], dict[str, str]]:
    """The layers whose channels may go, and why those of the others must stay.

    Args:
        graph: Its nodes have names.
        most: A layer of more channels is left alone.
    """
    groups, stay = [], {}
    for position, node in enumerate(graph.nodes):
        if not is_op(node, *LAYERS):
            continue
        try:
            groups.append(_group(graph, position, most))
        except TiedError as reason:
            stay[node.name] = str(reason)
    return tuple(groups), stay


def _group(graph: Wiring, position: int, most: int) -> Group:
    node = graph.nodes[position]
    lane, cut = _layer(graph, position)
    if lane.channels > most:
        raise TiedError(f"it has more than {most} channels")
    lanes = {node.output[0]: lane}
    flat: list[Slot] = []
    ends: list[End] = []
    for at in range(position + 1, len(graph.nodes)):
        reader = graph.nodes[at]
        read = [name for name in reader.input if name in lanes]
        if not read:
            continue
        end = _end(graph, at, lanes)
        if end is not None:
            ends.append(end)
            continue
        after, more, targets = _through(graph, at, lanes)
        lanes[reader.output[0]] = after
        cut, flat = [*cut, *more], [*flat, *targets]
    for name in lanes:
        if name in graph.held:
            raise TiedError(f"{name} is an output of the model, or read inside an If or a Loop")
    if not ends:
        raise TiedError("no linear layer reads it")
    return Group(node.name, lane.channels, tuple(cut), tuple(flat), tuple(ends))


def _layer(graph: Wiring, position: int) -> tuple[Lane, list[Slot]]:
    """A layer's own channels, and those of its weights that have an entry for each."""
    node = graph.nodes[position]
    weight = _float(graph, node.input[1])
    rank = len(graph.shape(node.output[0]))
    if weight is None:
        raise TiedError("its weights are not constant floats")
    if is_op(node, "Conv"):
        if attribute(node, "group", 1) != 1:
            raise TiedError("it is a grouped convolution")
        along, axis = 0, 1
        rank = weight.ndim
    else:
        _check_dense(node, weight)
        along, axis = (0 if attribute(node, "transB", 0) else 1), rank - 1
    if rank < 2:
        raise TiedError("the rank of its output is not known")
    channels = weight.shape[along]
    slots = [Slot(position, 1, Lane(along, weight.ndim, channels))]
    lane = Lane(axis, rank, channels)
    return lane, [*slots, *_own_bias(graph, position, lane)]


def _own_bias(graph: Wiring, position: int, lane: Lane) -> list[Slot]:
    """A bias that isn't there may come to be: where channels before the layer are merged."""
    node = graph.nodes[position]
    if is_op(node, "MatMul"):
        return []
    if is_op(node, "Conv") or not _has_bias(node):
        if _has_bias(node) and _float(graph, node.input[2]) is None:
            raise TiedError("its bias is not constant")
        return [Slot(position, 2, Lane(0, 1, lane.channels))]
    return _per_channel(graph, position, 2, lane)


def _has_bias(node: NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _check_dense(node: NodeProto, weight: Array) -> None:
    if weight.ndim != 2:
        raise TiedError("its weights are no matrix")
    scales = {attribute(node, name, 1.0) for name in ("alpha", "beta")}
    if attribute(node, "transA", 0) or scales != {1.0}:
        raise TiedError("it is more than a product and a bias")


def _float(graph: Wiring, name: str) -> Array | None:
    """A float32 constant without NaN and infinity."""
    if graph.element(name) != TensorProto.FLOAT:
        return None
    values = graph.constant(name)
    return values if values is not None and np.isfinite(values).all() else None


def _end(graph: Wiring, at: int, lanes: Mapping[str, Lane]) -> End | None:
    """The linear layer at a position, if it is one that mixes the channels of its input."""
    node = graph.nodes[at]
    lane = lanes.get(node.input[0])
    if not is_op(node, *LAYERS) or lane is None or any(n in lanes for n in node.input[1:]):
        return None
    weight = _float(graph, node.input[1])
    if weight is None:
        raise TiedError(f"{node.name} multiplies it by what is not constant")
    if is_op(node, "Conv"):
        if attribute(node, "group", 1) != 1:
            return None
        if lane.axis != 1 or not lane.plain:
            raise TiedError(f"{node.name} reads it in another layout")
        into, bias = Lane(1, weight.ndim, lane.channels), _conv_bias(graph, at)
    else:
        _check_dense(node, weight)
        along = 1 if attribute(node, "transB", 0) else 0
        if lane.axis != lane.rank - 1 or weight.shape[along] != lane.size:
            raise TiedError(f"{node.name} reads it in another layout")
        into = Lane(along, 2, lane.channels, lane.outer, lane.inner)
        bias = _dense_bias(graph, at, weight.shape[1 - along])
    return End(node.input[0], lane, Slot(at, 1, into), bias)


def _conv_bias(graph: Wiring, at: int) -> tuple[int, int] | None:
    node = graph.nodes[at]
    padded = any(attribute(node, "pads", [])) or attribute(node, "auto_pad", b"NOTSET") not in (
        b"NOTSET",
        b"VALID",
    )
    constant = not _has_bias(node) or _float(graph, node.input[2]) is not None
    return (at, 2) if constant and not padded else None


def _dense_bias(graph: Wiring, at: int, units: int) -> tuple[int, int] | None:
    """A Gemm's own bias, or the constant that an Add adds to a MatMul."""
    node = graph.nodes[at]
    place = 2
    if is_op(node, "MatMul"):
        if not graph.is_private(node.output[0]):
            return None
        at = graph.readers(node.output[0])[0]
        if not is_op(graph.nodes[at], "Add"):
            return None
        place = 1 if graph.nodes[at].input[0] == node.output[0] else 0
        node = graph.nodes[at]
    elif not _has_bias(node):
        return at, 2
    bias = _float(graph, node.input[place])
    fits = bias is not None and bias.ndim and bias.shape[-1] == bias.size == units
    return (at, place) if fits else None


def _through(
    graph: Wiring, at: int, lanes: Mapping[str, Lane]
) -> tuple[Lane, Sequence[Slot], Sequence[Slot]]:
    """The channels after a node that keeps them apart; what shrinks in it with them."""
    node = graph.nodes[at]
    name = node.op_type
    lane = lanes.get(node.input[0])
    others = [i for i, given in enumerate(node.input) if i and given in lanes]
    if is_op(node, *PAIRS):
        return _pair(graph, at, lanes)
    if lane is None or others or not is_op(node, name) or any(node.output[1:]):
        raise TiedError(f"{node.name} ({name}) reads it")
    if name in ALIKE:
        return lane, (), ()
    if lane.axis == 1 and lane.plain and lane.rank > 2:
        if name in POOLS and not attribute(node, "storage_order", 0):
            return lane, (), ()
        if name == "Conv":
            return lane, _depthwise(graph, at, lane), ()
        if name == "BatchNormalization" and not attribute(node, "training_mode", 0):
            return lane, [_vector(graph, at, place, lane) for place in (1, 2, 3, 4)], ()
    return _moved(graph, at, lane)


def _vector(graph: Wiring, at: int, place: int, lane: Lane) -> Slot:
    node = graph.nodes[at]
    if _float(graph, node.input[place]) is None:
        raise TiedError(f"{node.name} has statistics that are not constant")
    return Slot(at, place, Lane(0, 1, lane.channels))


def _depthwise(graph: Wiring, at: int, lane: Lane) -> list[Slot]:
    node = graph.nodes[at]
    weight = _float(graph, node.input[1])
    wanted = attribute(node, "group", 1) == lane.channels
    if weight is None or not wanted or weight.shape[:2] != (lane.channels, 1):
        raise TiedError(f"{node.name} is a grouped convolution")
    slots = [Slot(at, 1, Lane(0, weight.ndim, lane.channels))]
    if _has_bias(node):
        slots.append(_vector(graph, at, 2, lane))
    return slots


def _pair(
    graph: Wiring, at: int, lanes: Mapping[str, Lane]
) -> tuple[Lane, Sequence[Slot], Sequence[Slot]]:
    """With a constant for each channel, or with the same channels: x * sigmoid(x)."""
    node = graph.nodes[at]
    found = {lanes[name] for name in node.input if name in lanes}
    if len(found) != 1:
        raise TiedError(f"{node.name} ({node.op_type}) reads it in two layouts")
    (lane,) = found
    slots: list[Slot] = []
    for place, name in enumerate(node.input):
        if name not in lanes:
            slots += _per_channel(graph, at, place, lane)
    return lane, slots, ()


def _per_channel(graph: Wiring, at: int, place: int, lane: Lane) -> list[Slot]:
    """The slot of a constant that is broadcast against the value; none if it has no channels."""
    node = graph.nodes[at]
    constant = _float(graph, node.input[place])
    if constant is None:
        raise TiedError(f"{node.name} ({node.op_type}) joins it with another value")
    if constant.ndim > lane.rank:
        raise TiedError(f"{node.name} ({node.op_type}) gives it more axes")
    axis = lane.of_constant(constant.ndim)
    if axis < 0 or constant.shape[axis] == 1:
        return []
    if constant.shape[axis] != lane.size:
        raise TiedError(f"{node.name} ({node.op_type}) reads it in another layout")
    return [Slot(at, place, Lane(axis, constant.ndim, lane.channels, lane.outer, lane.inner))]


def _moved(graph: Wiring, at: int, lane: Lane) -> tuple[Lane, Sequence[Slot], Sequence[Slot]]:
    """The channels after a node that moves or reduces other axes."""
    node = graph.nodes[at]
    before = graph.shape(node.input[0])
    if is_op(node, "Transpose"):
        perm = list(attribute(node, "perm", range(lane.rank)[::-1]))
        return Lane(perm.index(lane.axis), lane.rank, *_middle(lane)), (), ()
    if is_op(node, "Squeeze", "ReduceMean", "ReduceMax"):
        return _without_axes(graph, node, lane), (), ()
    if is_op(node, "Flatten", "Reshape") and lane.plain and lane.axis > 0:
        sizes = [s for s in before[1:] if isinstance(s, int)]
        if len(before) != lane.rank or len(sizes) != lane.rank - 1:
            raise TiedError(f"{node.name} ({node.op_type}) flattens a shape that is not known")
        after = Lane(1, 2, lane.channels, prod(sizes[: lane.axis - 1]), prod(sizes[lane.axis :]))
        return after, (), _target(graph, at, after, before)
    raise TiedError(f"{node.name} ({node.op_type}) reads it")


def _middle(lane: Lane) -> tuple[int, int, int]:
    return lane.channels, lane.outer, lane.inner


def _target(graph: Wiring, at: int, after: Lane, before: Shape) -> Sequence[Slot]:
    """The target of a Reshape, or nothing of a Flatten, that keeps the first axis only."""
    node = graph.nodes[at]
    if is_op(node, "Flatten"):
        if attribute(node, "axis", 1) != 1:
            raise TiedError(f"{node.name} (Flatten) leaves more than one axis")
        return ()
    target = graph.constant(node.input[1])
    wanted = target is not None and target.size == 2 and (
        target[1] == after.size
        or (target[1] == -1 and (target[0] == 0 or target[0] == before[0]))
    )  # fmt: skip
    if target is None or not wanted or attribute(node, "allowzero", 0):
        raise TiedError(f"{node.name} (Reshape) does more than flatten it")
    return (Slot(at, 1, after),) if target[1] == after.size else ()


def _without_axes(graph: Wiring, node: NodeProto, lane: Lane) -> Lane:
    axes = graph.axes(node)
    if axes is None:
        raise TiedError(f"{node.name} ({node.op_type}) has axes that are not known")
    gone = {axis % lane.rank for axis in axes}
    if lane.axis in gone or not gone:
        raise TiedError(f"{node.name} ({node.op_type}) reads it across channels")
    if node.op_type != "Squeeze" and attribute(node, "keepdims", 1):
        return lane
    below = sum(axis < lane.axis for axis in gone)
    return Lane(lane.axis - below, lane.rank - len(gone), *_middle(lane))
