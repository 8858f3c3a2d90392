"""channel-pruning: convolutions with fewer channels, what the others did made up for.

Channels of a convolution that go, through operators that treat each alone (an activation, a
pooling), into one further convolution or product can be done without where they are nearly
linear in the rest: with f_c ~ sum of M_kc f_k over the kept channels k, at every position, the
next layer's weights take them over, W_k += M_kc W_c. M is the regression on the calibration
samples (ThiNet, Luo et al., ICCV 2017; the same for neurons, Mariet and Sra, ICLR 2016). Which
channels go is found backwards, one at a time: the one whose residual weighs least in the next
layer's output. Nothing is trained, and no operator is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgedl.export.errors import NothingGainedError
from edgedl.export.nodes import copied
from edgedl.export.recipes.calibration import open_activations
from edgedl.export.recipes.channels import Channels, channels
from edgedl.export.recipes.material import Material, Product
from edgedl.export.recipes.projections import PRODUCTS
from edgedl.export.surgery import weights_of
from edgedl.runtime.golden import Array

# Shares of the next layer's output energy that are given up, from the most to the least.
LOSSES = np.geomspace(0.5, 1e-5, 40)
# What the closer recipe gives up: noise 30 dB under the signal.
CLOSE = 0.001
# Channels come in multiples of a vector register's floats, or of less where they are few.
STEP = 8
# Of the mean square, added to the second moments: they may be singular.
RIDGE = 1e-6


def obstacle(material: Material) -> str:
    """There must be a convolution whose channels another layer alone reads."""
    if not channels(material.model):
        outside = material.outside("Conv", *PRODUCTS)
        return f"no convolution's channels go into one other layer alone{outside}"
    return "" if material.calibration.count else "it needs calibration samples"


def make(material: Material) -> Product:
    """The fewest channels that keep parity and the budget, found by bisection.

    Raises:
        NothingGainedError: No channel can go.
    """
    prunings = _prunings(material)
    ladder = _ladder(prunings)
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        if material.passes(pruned(material.model, prunings, ladder[middle])):
            high = middle
        else:
            low = middle + 1
    if low == len(ladder):
        raise NothingGainedError("no channel can go within the budget", "leave it out")
    return _product(material, prunings, ladder[low])


def make_close(material: Material) -> Product:
    """The channels that keep all but a thousandth of each next layer's output energy.

    Raises:
        NothingGainedError: That is all of them.
    """
    prunings = _prunings(material)
    counts = _counts(prunings, CLOSE)
    if not counts:
        raise NothingGainedError("every channel is needed", "leave it out")
    return _product(material, prunings, counts)


def _product(
    material: Material, prunings: Mapping[str, Pruning], counts: Mapping[str, int]
) -> Product:
    settings = {
        "channels": {name: [prunings[name].count, kept] for name, kept in counts.items()},
        "calibration_samples": material.calibration.count,
    }
    return Product(pruned(material.model, prunings, counts), settings)


@dataclass(frozen=True, eq=False)
class Pruning:
    """A convolution's channels, in the order in which they can be done without.

    `moments` are the channels' second moments where the next layer reads them, (C, C);
    `order` all channels, the most dispensable first, and `lost[n]` the share of the next
    layer's output energy that goes with the first n.
    """

    channels: Channels
    moments: Array
    order: tuple[int, ...]
    lost: Array

    @property
    def count(self) -> int:
        """Channels before pruning."""
        return len(self.order)

    def kept(self, loss: float) -> int:
        """The least number of channels that loses no more than a share."""
        step = max(1, min(STEP, self.count // 4))
        dispensable = int(np.searchsorted(self.lost, loss, "right")) - 1
        needed = max(1, self.count - dispensable)
        return min(self.count, -(-needed // step) * step)


def _prunings(material: Material) -> dict[str, Pruning]:
    found = channels(material.model)
    activations = open_activations(material.model)
    moments: dict[str, Array] = {}
    names = tuple(dict.fromkeys(c.read for c in found))
    for arrays in activations.stream(material.calibration, names):
        for c in found:
            values = arrays[c.read]
            rows = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]).astype(np.float64)
            rows = rows[np.isfinite(rows).all(1)]
            moments[c.name] = moments.get(c.name, 0.0) + rows.T @ rows
    return {c.name: _pruning(c, moments[c.name]) for c in found}


def _pruning(found: Channels, moments: Array) -> Pruning:
    weights = found.columns.astype(np.float64)  # (C, what the next layer makes of each)
    order, costs = elimination(_ridged(moments), weights @ weights.T)
    energy = float(np.sum(moments * (weights @ weights.T))) or 1.0
    lost = np.concatenate([[0.0], np.cumsum(costs)]) / energy
    return Pruning(found, moments, order, lost)


def _ridged(moments: Array) -> Array:
    mean = float(np.trace(moments)) / len(moments) or 1.0
    return np.asarray(moments + RIDGE * mean * np.eye(len(moments)))


def elimination(moments: Array, gram: Array) -> tuple[tuple[int, ...], list[float]]:
    """The order in which channels go, and the energy that each takes along.

    With P the inverse of the moments, channel c's residual on the others has the energy
    1 / P_cc, and -P_kc / P_cc are its regression's coefficients; both stay cheap to have as
    channels go, and so do the Gram matrix of the weights that take c's share over.

    Args:
        moments: The channels' second moments, (C, C), regular.
        gram: Inner products of the next layer's weights on them, (C, C).
    """
    left = list(range(len(moments)))
    inverse, gram = np.linalg.inv(moments), gram.copy()
    order, costs = [], []
    while len(left) > 1:
        residual = 1 / np.maximum(np.diag(inverse), np.finfo(np.float64).tiny)
        scores = residual * np.diag(gram)
        c = int(np.argmin(scores))
        order.append(left.pop(c))
        costs.append(max(0.0, float(scores[c])))
        others = np.arange(len(inverse)) != c
        share = -inverse[others, c] / inverse[c, c]
        cross = np.outer(share, gram[c, others])
        gram = gram[np.ix_(others, others)] + cross + cross.T + gram[c, c] * np.outer(share, share)
        inverse = inverse[np.ix_(others, others)] + np.outer(share, inverse[c, others])
    return (*order, *left), costs


def _ladder(prunings: Mapping[str, Pruning]) -> list[dict[str, int]]:
    """Numbers of channels at each loss, different ones, most lost first."""
    steps: list[dict[str, int]] = []
    for loss in LOSSES:
        counts = _counts(prunings, float(loss))
        if counts and counts not in steps:
            steps.append(counts)
    return steps


def _counts(prunings: Mapping[str, Pruning], loss: float) -> dict[str, int]:
    kept = {name: p.kept(loss) for name, p in prunings.items()}
    return {name: count for name, count in kept.items() if count < prunings[name].count}


def pruned(
    model: onnx.ModelProto, prunings: Mapping[str, Pruning], counts: Mapping[str, int]
) -> onnx.ModelProto:
    """A copy whose convolutions have so many channels left, and the layers behind them fit."""
    copy = copied(model)
    weights = weights_of(copy)
    for name, count in counts.items():
        pruning = prunings[name]
        left = sorted(pruning.order[pruning.count - count :])
        gone = sorted(pruning.order[: pruning.count - count])
        found = pruning.channels
        for own in found.own:
            _write(weights[own], numpy_helper.to_array(weights[own])[left])
        following = numpy_helper.to_array(weights[found.following])
        _write(
            weights[found.following],
            found.folded(following, left, gone, _take_over(pruning, left, gone)),
        )
        for shape, values in found.flattened(count).items():
            _write(weights[shape], values)
    del copy.graph.value_info[:]
    return copy


def _take_over(pruning: Pruning, left: Sequence[int], gone: Sequence[int]) -> Array:
    """The regression of the channels that go on those that stay, (left, gone)."""
    moments = _ridged(pruning.moments)
    return np.asarray(np.linalg.solve(moments[np.ix_(left, left)], moments[np.ix_(left, gone)]))


def _write(tensor: onnx.TensorProto, values: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
