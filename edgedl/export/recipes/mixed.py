"""mixed: int8 where it costs little, float where it costs much.

Each node is quantised alone, on calibration samples, to see what it loses; the worst return
to float until parity and the budget hold. Over int8-static where that fits the model, else
over int8-dynamic. The ranges are measured once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgedl.export import graph
from edgedl.export.errors import NothingGainedError
from edgedl.export.interface import Interface
from edgedl.export.recipes import int8_dynamic, int8_static
from edgedl.export.recipes.calibration import open_activations, ranges
from edgedl.export.recipes.material import Material, Product
from edgedl.export.stages import runner
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.tally import decibels

# Nodes beyond this many are tried and returned in groups of neighbours.
MOST_GROUPS = 48
# Samples that a loss is measured on: enough for a ratio of powers.
PROBES = 32

Quantise = Callable[[Collection[str], Collection[str]], onnx.ModelProto]
Group = tuple[str, ...]


@dataclass(frozen=True)
class Quantiser:
    """A recipe taken node by node: `quantise(only, never)`, by names; `only` empty means all."""

    nodes: tuple[str, ...]
    quantise: Quantise
    settings: dict[str, Any]
    leaves: dict[str, str]


def obstacle(material: Material) -> str:
    """It needs calibration samples, and something that int8-static or -dynamic quantises."""
    if not material.calibration.count:
        return "no samples are left to measure losses on; give more with --samples"
    static, dynamic = int8_static.obstacle(material), int8_dynamic.obstacle(material)
    return f"{static}; {dynamic}" if static and dynamic else ""


def make(material: Material) -> Product:
    """Return as few nodes to float as the budget asks for, the worst first.

    Raises:
        NothingGainedError: The budget doesn't hold with any node quantised.
    """
    quantiser = _static(material) or _dynamic(material)
    whole = quantiser.quantise((), ())
    if material.passes(whole):
        return _product(whole, quantiser, {})
    losses = _losses(material, quantiser)
    worst = sorted(losses, key=lambda group: losses[group])
    low, high = 1, len(worst)
    while low < high:
        middle = (low + high) // 2
        if material.passes(quantiser.quantise((), _names(worst[:middle]))):
            high = middle
        else:
            low = middle + 1
    if low >= len(worst):
        raise NothingGainedError("the budget holds with every node in float only", "leave it out")
    returned = {
        name: f"returned to float: quantised alone it leaves {losses[group]:.1f} dB"
        for group in worst[:low]
        for name in group
    }
    return _product(quantiser.quantise((), list(returned)), quantiser, returned)


def _product(model: onnx.ModelProto, quantiser: Quantiser, returned: dict[str, str]) -> Product:
    settings = {**quantiser.settings, "returned_to_float": list(returned)}
    return Product(model, settings, quantiser.leaves, returned)


def _static(material: Material) -> Quantiser | None:
    if int8_static.obstacle(material):
        return None
    measured = ranges(open_activations(material.model), material.calibration, "minmax")

    def quantise(only: Collection[str], never: Collection[str]) -> onnx.ModelProto:
        return int8_static.insert_qdq(material, measured, int8_static.Choice(only, never))

    nodes = int8_static.quantisable(material.model)
    return Quantiser(nodes, quantise, int8_static.settings(material, "minmax"), {})


def _dynamic(material: Material) -> Quantiser:
    nodes = int8_dynamic.quantisable(material.model)

    def quantise(only: Collection[str], never: Collection[str]) -> onnx.ModelProto:
        others = set(nodes) - set(only) if only else set()
        return int8_dynamic.make_without(material, {*never, *others}).model

    settings = dict(int8_dynamic.make(material).settings)
    return Quantiser(nodes, quantise, settings, int8_dynamic.LEAVES)


def _losses(material: Material, quantiser: Quantiser) -> dict[Group, float]:
    """For each group of nodes the worst output's SQNR in dB when it alone is quantised."""
    interface = material.judgement.interface
    probes = _probes(material)
    expected = _open(material.model, interface)(probes)
    losses: dict[Group, float] = {}
    for group in _groups(quantiser.nodes):
        model = quantiser.quantise(group, ())
        if not graph.is_as_large(model, material.model):
            losses[group] = _worst_sqnr(_open(model, interface)(probes), expected)
    return losses


def _probes(material: Material) -> Arrays:
    return material.calibration.part(range(min(PROBES, material.calibration.count)))


def _open(model: onnx.ModelProto, interface: Interface) -> Runner:
    return runner(graph.conform(model, interface), interface)


def _groups(nodes: Sequence[str]) -> list[Group]:
    """Nodes one by one, or in as many groups of neighbours as may be tried."""
    size = -(-len(nodes) // MOST_GROUPS)
    return [tuple(nodes[i : i + size]) for i in range(0, len(nodes), size)]


def _names(groups: Sequence[Group]) -> list[str]:
    return [name for group in groups for name in group]


def _worst_sqnr(actual: Arrays, expected: Arrays) -> float:
    ratios = [math.inf]
    for name, b in expected.items():
        if np.issubdtype(b.dtype, np.floating):
            ratios.append(_sqnr(actual[name].astype(np.float64), b.astype(np.float64)))
    return min(ratios)


def _sqnr(a: Array, b: Array) -> float:
    """In dB, over what is finite; the worst where a value is so on one side only."""
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return -math.inf
    noise = float(np.sum(np.square(a[finite] - b[finite])))
    signal = float(np.sum(np.square(b[finite])))
    return decibels(signal, noise)
