"""pruned: channels removed without training, what they carried merged into those kept.

A channel's value at a position is predicted from the kept channels' values there by least
squares over the calibration samples, as He et al. reconstruct what a pruned layer feeds the
next one (ICCV 2017, arXiv:1707.06168). The prediction is linear, so that it goes into the
weights of the next layer, as merged neurons do (Kim et al., NeurIPS 2020, arXiv:2010.13160,
who find it from the filters' likeness instead), and its constant into the bias.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgedl.export.errors import NothingGainedError
from edgedl.export.nodes import attribute, copied, is_op
from edgedl.export.passes.wiring import Wiring
from edgedl.export.recipes.calibration import open_activations
from edgedl.export.recipes.channel_groups import LAYERS, End, Group, Slot, find_groups
from edgedl.export.recipes.material import Material, Product
from edgedl.export.recipes.merging import Reading, merging, order_of_removal
from edgedl.export.surgery import rewritten
from edgedl.runtime.golden import Array

# Shares of the energy that the channels bring to the layers that read them, from the most
# to the least: every layer gives up as many channels as keep the rest.
LOSSES = np.geomspace(0.3, 1e-6, 40)
# ONNX Runtime computes convolutions in blocks of 16 channels with AVX-512, of 8 with AVX: 12
# are slower than 16 there, and 24 twice as slow as 32. A narrow layer has nothing else to give.
CONV_STEP, DENSE_STEP = 16, 8
# What the closer recipe gives up of that energy: noise 30 dB below.
CLOSE = 1e-3
# A second moment of so many channels is 32 MiB.
MOST_CHANNELS = 2048


def obstacle(material: Material) -> str:
    """There must be channels that only linear layers read, and samples to merge them by."""
    groups, stay = find_groups(Wiring(material.model), MOST_CHANNELS)
    if not groups:
        why = next(iter(stay.items()), None)
        said = f"; {why[0]}: {why[1]}" if why else material.outside(*LAYERS)
        return f"no layer's channels can go{said}"
    return "" if material.calibration.count else "it needs calibration samples (--samples)"


def make(material: Material) -> Product:
    """As few channels as keep parity and the budget, found by bisection.

    Raises:
        NothingGainedError: No channel may go.
    """
    graph, plans, stay = _planned(material)
    ladder = _ladder(plans)
    counts = material.first_passing(
        ladder, lambda step: _cut(graph, plans, step), "no channels can go within the budget"
    )
    settings = _settings(material, plans, counts, stay)
    return Product(_cut(graph, plans, counts), settings, asked=len(ladder).bit_length())


def make_close(material: Material) -> Product:
    """The channels that keep all but a thousandth of the energy, whatever the budget.

    Raises:
        NothingGainedError: That is all of them.
    """
    graph, plans, stay = _planned(material)
    counts = _counts(plans, CLOSE)
    if not counts:
        raise NothingGainedError("every channel is needed", "leave it out")
    return Product(_cut(graph, plans, counts), _settings(material, plans, counts, stay))


def _planned(material: Material) -> tuple[Wiring, dict[str, Plan], dict[str, str]]:
    """The graph, by name the layers whose channels may go, and why the others stay."""
    graph = Wiring(material.model)
    groups, stay = find_groups(graph, MOST_CHANNELS)
    return graph, {p.group.name: p for p in _plans(graph, groups, material)}, stay


def _settings(
    material: Material, plans: Mapping[str, Plan], counts: Mapping[str, int], stay: dict[str, str]
) -> dict[str, object]:
    return {
        "channels": {name: [plans[name].group.channels, n] for name, n in counts.items()},
        "untouched": stay,
        "calibration_samples": material.calibration.count,
    }


@dataclass(frozen=True, eq=False)
class Plan:
    """The order in which channels go, and the share lost once each is gone, (c,)."""

    group: Group
    step: int
    readings: tuple[Reading, ...]
    order: Array
    lost: Array

    def kept(self, loss: float) -> int:
        """How many stay at a share of lost energy, a multiple of the step; 0 where all do."""
        count = self.group.channels
        step = self.step if count >= 2 * self.step else max(1, min(8, count // 2))
        left = count - int(np.sum(self.lost <= loss))
        kept = -(-max(1, left) // step) * step
        return kept if kept < count else 0


def _ladder(plans: Mapping[str, Plan]) -> list[dict[str, int]]:
    """How many channels stay where some go, at each loss; the most lost first."""
    steps: list[dict[str, int]] = []
    for loss in LOSSES:
        counts = _counts(plans, float(loss))
        if counts and counts not in steps:
            steps.append(counts)
    return steps


def _counts(plans: Mapping[str, Plan], loss: float) -> dict[str, int]:
    """How many channels stay, of the layers where some go."""
    return {name: kept for name, plan in plans.items() if (kept := plan.kept(loss))}


def _plans(graph: Wiring, groups: Sequence[Group], material: Material) -> list[Plan]:
    moments = _moments(material, [end for group in groups for end in group.ends])
    plans = []
    for group in groups:
        readings = tuple(
            Reading(moments[end.value][:size, :size], _gram(graph, end.weight))
            for end in group.ends
            if (size := group.channels + (end.bias is not None))
        )
        own = graph.nodes[group.cut[0].node]
        step = CONV_STEP if is_op(own, "Conv") else DENSE_STEP
        plans.append(Plan(group, step, readings, *order_of_removal(readings)))
    return plans


def _moments(material: Material, ends: Sequence[End]) -> dict[str, Array]:
    """By value, the sums of products of its channels and of a 1 beside them, over everywhere."""
    seen = {end.value: end.seen for end in ends}
    moments: dict[str, Array] = {}
    activations = open_activations(material.model)
    for arrays in activations.stream(material.calibration, tuple(seen)):
        for name, lane in seen.items():
            rows = lane.rows(arrays[name])
            rows = rows[np.isfinite(rows).all(1)].astype(np.float64)
            rows = np.concatenate([rows, np.ones((len(rows), 1))], 1)
            moments[name] = moments.get(name, 0.0) + rows.T @ rows
    return moments


def _weight(graph: Wiring, slot: Slot) -> Array:
    """A constant that a slot names."""
    value = graph.constant(graph.nodes[slot.node].input[slot.place])
    assert value is not None  # found constant by `find_groups`
    return value


def _gram(graph: Wiring, slot: Slot) -> Array:
    rows = slot.lane.rows(_weight(graph, slot)).astype(np.float64)
    return rows.T @ rows


Edit = Callable[[Array | None], Array | None]


def _cut(graph: Wiring, plans: Mapping[str, Plan], counts: Mapping[str, int]) -> onnx.ModelProto:
    """The model with so many channels left in these layers.

    What merging adds comes before anything is cut: a layer's weights may lose its inputs'
    channels and its own.
    """
    merges: dict[tuple[int, int], list[Edit]] = defaultdict(list)
    cuts: dict[tuple[int, int], list[Edit]] = defaultdict(list)
    for name, count in counts.items():
        plan = plans[name]
        left = plan.group.channels - count
        gone, kept = np.sort(plan.order[:left]), np.sort(plan.order[left:])
        for end, reading in zip(plan.group.ends, plan.readings, strict=True):
            mix, constant = merging(reading, kept, gone)
            merges[end.weight.node, end.weight.place].append(_merge(end.weight, kept, gone, mix))
            if end.bias is not None:
                merges[end.bias].append(_add(_brought(graph, end.weight, gone, constant)))
        for slot in plan.group.cut:
            cuts[slot.node, slot.place].append(_keep(slot, kept))
        for slot in plan.group.flat:
            cuts[slot.node, slot.place].append(_shorter(slot, len(kept)))
    return _edited(graph, {k: merges[k] + cuts[k] for k in [*merges, *cuts]})


def _parts(slot: Slot, array: Array) -> Array:
    """The array with the channels on the first axis: (channels, outer, inner, the rest)."""
    lane = slot.lane
    moved = np.moveaxis(array, lane.axis, 0)
    split = moved.reshape(lane.outer, lane.channels, lane.inner, *moved.shape[1:])
    return split.swapaxes(0, 1)


def _whole(slot: Slot, parts: Array) -> Array:
    """What `_parts` took apart, with as many channels as there are now."""
    joined = parts.swapaxes(0, 1)
    joined = joined.reshape(-1, *joined.shape[3:])
    return np.ascontiguousarray(np.moveaxis(joined, 0, slot.lane.axis))


def _merge(slot: Slot, kept: Array, gone: Array, mix: Array) -> Edit:
    def edit(array: Array | None) -> Array:
        assert array is not None
        parts = _parts(slot, array.astype(np.float64))
        return _whole(slot, parts[kept] + np.tensordot(mix, parts[gone], 1))

    return edit


def _keep(slot: Slot, kept: Array) -> Edit:
    return lambda array: None if array is None else _whole(slot, _parts(slot, array)[kept])


def _brought(graph: Wiring, slot: Slot, gone: Array, constant: Array) -> Array:
    """What constants in place of these channels add to each output, (outputs,)."""
    node, array = graph.nodes[slot.node], _weight(graph, slot)
    parts = np.tensordot(constant, _parts(slot, array.astype(np.float64))[gone], 1)
    if is_op(node, "Conv"):  # (outer 1, inner 1, outputs, *kernel)
        return np.asarray(parts.reshape(array.shape[0], -1).sum(1))
    return np.asarray(parts.sum((0, 1)))


def _add(brought: Array) -> Edit:
    def edit(array: Array | None) -> Array:
        return brought if array is None else array + brought.reshape(array.shape)

    return edit


def _shorter(slot: Slot, count: int) -> Edit:
    def edit(target: Array | None) -> Array:
        assert target is not None
        return np.array([target[0], slot.lane.size // slot.lane.channels * count], np.int64)

    return edit


def _edited(graph: Wiring, edits: Mapping[tuple[int, int], Sequence[Edit]]) -> onnx.ModelProto:
    """The model with other constants in these inputs of these nodes."""
    nodes: dict[int, onnx.NodeProto] = {}
    added: dict[str, Array] = {}
    for (at, place), todo in edits.items():
        node = nodes.setdefault(at, copied(graph.nodes[at]))
        name = node.input[place] if place < len(node.input) else ""
        array = graph.constant(name) if name else None
        for edit in todo:
            array = edit(array)
        if array is None:
            continue
        fresh = graph.fresh(f"{node.name}__pruned{place}")
        added[fresh] = array if array.dtype == np.int64 else array.astype(np.float32)
        node.input.extend([""] * (place + 1 - len(node.input)))
        node.input[place] = fresh
        if is_op(node, "Conv") and place == 1 and attribute(node, "group", 1) > 1:
            _set_group(node, len(array))
    return rewritten(graph.model, {node.name: [node] for node in nodes.values()}, added)


def _set_group(node: onnx.NodeProto, count: int) -> None:
    """A depthwise convolution of so many channels."""
    for found in node.attribute:
        if found.name == "group":
            found.i = count
