"""Channels of a convolution that one other layer alone reads: where they begin and end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgedl.export.nodes import attribute, every_node, is_op
from edgedl.export.surgery import float_weight, weights_of
from edgedl.runtime.golden import Array

# Operators without weights that treat every channel alone.
CHANNELWISE = (
    "Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus",
    "Softsign", "Gelu", "Mish", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool",
    "GlobalMaxPool",
)  # fmt: skip
FEWEST = 4  # channels that are worth thinning


@dataclass(frozen=True, eq=False)
class Channels:
    """A convolution's channels, and the layer that reads them.

    `own` are the initialisers with the channels on their first axis, weight and bias.
    `read` is the tensor (n, C, ...) that the next layer reads or flattens. `following` is
    the next layer's weight, `axis` where the channels are on it: alone, or with `positions`
    other values, channels outside (`channels_first`) or inside. `columns`, (C, m), is that
    weight as what the layer makes of each channel. `shape` is the initialiser that a Reshape
    flattens to, if its size is written out.
    """

    name: str
    own: tuple[str, ...]
    read: str
    following: str
    axis: int
    positions: int
    channels_first: bool
    columns: Array
    shape: tuple[str, Array] | None = None

    def folded(
        self, weight: Array, left: Sequence[int], gone: Sequence[int], take_over: Array
    ) -> Array:
        """The next layer's weight on the channels left, the others' share taken over.

        Args:
            weight: As it is.
            left: Channels that stay.
            gone: Channels that go.
            take_over: (left, gone): what each that stays has of each that goes.
        """
        split = self._split(weight)  # (C, m)
        fewer = split[left] + take_over @ split[gone].astype(np.float64)
        return self._join(fewer.astype(weight.dtype), weight, len(left))

    def _split(self, weight: Array) -> Array:
        """The weight with the channels on the first axis, all else on the second."""
        moved = np.moveaxis(weight, self.axis, 0)
        return split_channels(moved, self.positions, self.channels_first)

    def _join(self, split: Array, weight: Array, count: int) -> Array:
        rest = np.moveaxis(weight, self.axis, 0).shape[1:]
        cube = split.reshape(count, self.positions, -1)
        if not self.channels_first:
            cube = cube.swapaxes(0, 1)
        return np.moveaxis(cube.reshape(count * self.positions, *rest), 0, self.axis)

    def flattened(self, count: int) -> dict[str, Array]:
        """The Reshape's target for so many channels."""
        if self.shape is None:
            return {}
        name, values = self.shape
        return {name: np.array([*values[:-1], count * self.positions], values.dtype)}


def split_channels(moved: Array, positions: int, channels_first: bool) -> Array:
    """Channels and positions on one axis, the first, told apart: (C, everything else)."""
    count = moved.shape[0] // positions
    if channels_first:
        return moved.reshape(count, -1)
    return moved.reshape(positions, count, -1).swapaxes(0, 1).reshape(count, -1)


def channels(model: ModelProto) -> tuple[Channels, ...]:
    """Every convolution of the outer graph whose channels one other layer alone reads."""
    wiring = _Wiring(model)
    found = (_channels(node, wiring) for node in model.graph.node if is_op(node, "Conv"))
    return tuple(c for c in found if c is not None)


class _Wiring:
    """Who reads what; initialisers that more than one node reads can't change."""

    def __init__(self, model: ModelProto) -> None:
        self.weights: Mapping[str, TensorProto] = weights_of(model)
        self.reads = Counter(name for n in every_node(model.graph) for name in n.input if name)
        self.reads.update(value.name for value in model.graph.output)
        self._readers = {name: n for n in model.graph.node for name in n.input}

    def only_reader(self, name: str) -> NodeProto | None:
        """The outer graph's node that alone reads a value."""
        return self._readers.get(name) if self.reads[name] == 1 else None

    def own_weight(self, name: str) -> Array | None:
        """A float initialiser that one node alone reads."""
        return float_weight(self.weights, name) if self.reads[name] == 1 else None


def _channels(conv: NodeProto, wiring: _Wiring) -> Channels | None:
    own = tuple(name for name in conv.input[1:] if name)
    weights = [wiring.own_weight(name) for name in own]
    if any(w is None for w in weights) or attribute(conv, "group", 1) != 1:
        return None
    assert weights[0] is not None
    count = weights[0].shape[0]
    value, reader = _follow(conv.output[0], wiring)
    if reader is None or count < FEWEST:
        return None
    if is_op(reader, "Conv"):
        return _into_convolution(conv, own, value, reader, wiring)
    return _into_product(conv, own, value, count, wiring)


def _follow(value: str, wiring: _Wiring) -> tuple[str, NodeProto | None]:
    """The value behind every operator that treats channels alone, and who reads it."""
    reader = wiring.only_reader(value)
    while reader is not None and is_op(reader, *CHANNELWISE):
        if any(reader.output[1:]):
            return value, None
        value, reader = reader.output[0], wiring.only_reader(reader.output[0])
    return value, reader


def _into_convolution(
    conv: NodeProto, own: tuple[str, ...], value: str, reader: NodeProto, wiring: _Wiring
) -> Channels | None:
    weight = wiring.own_weight(reader.input[1])
    if weight is None or reader.input[0] != value or attribute(reader, "group", 1) != 1:
        return None
    columns = split_channels(np.moveaxis(weight, 1, 0), 1, True)
    return Channels(conv.name, own, value, reader.input[1], 1, 1, True, columns)


def _into_product(
    conv: NodeProto, own: tuple[str, ...], value: str, count: int, wiring: _Wiring
) -> Channels | None:
    """Through a Transpose or none, a Reshape or Flatten to rows, into MatMul or Gemm."""
    flat, reader, channels_first = value, wiring.only_reader(value), True
    if reader is not None and is_op(reader, "Transpose"):
        perm = list(attribute(reader, "perm", []))
        if perm != [0, *range(2, len(perm)), 1]:
            return None
        flat, channels_first = reader.output[0], False
        reader = wiring.only_reader(flat)
    if reader is None or not is_op(reader, "Reshape", "Flatten") or reader.input[0] != flat:
        return None
    product = wiring.only_reader(reader.output[0])
    if product is None or not is_op(product, "MatMul", "Gemm"):
        return None
    weight = wiring.own_weight(product.input[1])
    if weight is None or weight.ndim != 2 or product.input[0] != reader.output[0]:
        return None
    if is_op(product, "Gemm") and attribute(product, "transA", 0):
        return None
    axis = 1 if is_op(product, "Gemm") and attribute(product, "transB", 0) else 0
    size = weight.shape[axis]
    fits, shape = _rows(reader, size, wiring)
    if not fits or size % count:
        return None
    columns = split_channels(np.moveaxis(weight, axis, 0), size // count, channels_first)
    return Channels(
        conv.name, own, value, product.input[1], axis, size // count, channels_first, columns, shape
    )


def _rows(reader: NodeProto, size: int, wiring: _Wiring) -> tuple[bool, tuple[str, Array] | None]:
    """Whether all but the first axis becomes one, and the target that says how long it is."""
    if is_op(reader, "Flatten"):
        return attribute(reader, "axis", 1) == 1, None
    name = reader.input[1]
    if name not in wiring.weights or wiring.reads[name] != 1 or attribute(reader, "allowzero", 0):
        return False, None
    values = np.asarray(numpy_helper.to_array(wiring.weights[name]))
    if values.shape != (2,) or values[1] not in (size, -1):
        return False, None
    # With the rows' number fixed instead, "-1" finds the length itself.
    return True, None if values[1] == -1 else (name, values)
