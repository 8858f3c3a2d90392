"""Which channels to remove, in which order, and what of them goes into the others.

Channels go one after the other, the one first whose loss is least: the second moment that
the others leave unexplained times the square of the weights that read it, both as they are
once the earlier ones are merged. That is Optimal Brain Surgeon (Hassibi and Stork, NeurIPS
1992) with a channel for a weight: after each removal inverse and weights are brought up to
date. What is lost at different places of an image is taken for independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.golden import Array

# So often the inverse is brought up to date: of more channels, a few go at once, which is
# finer than the counts are rounded to. 2,048 channels take half a minute.
UPDATES = 128
# Kept channels that tell the same twice share the weight, instead of cancelling each other.
RIDGE = 1e-7


@dataclass(frozen=True, eq=False)
class Reading:
    """What a linear layer makes of the channels.

    `moment` are the sums of products of the channels' values, (c, c), or (c + 1, c + 1) with
    a constant 1 at the end; `weights` those of what multiplies them, (c, c).
    """

    moment: Array
    weights: Array

    @property
    def energy(self) -> float:
        """The energy that the channels bring, taken for independent from place to place."""
        count = len(self.weights)
        return float(np.sum(self.moment[:count, :count] * self.weights))


def order_of_removal(readings: Sequence[Reading]) -> tuple[Array, Array]:
    """Channels from the most dispensable on, and the share of energy lost once each is gone.

    The share is summed over the layers that read them.
    """
    count = len(readings[0].weights)
    at_once = -(-count // UPDATES)
    states = [_State.of(reading) for reading in readings]
    order: list[int] = []
    lost: list[float] = []
    while len(order) < count:
        scores = np.sum([state.scores() for state in states], 0)
        scores[order] = np.inf
        gone = np.argsort(scores, kind="stable")[: min(at_once, count - len(order))]
        total = (lost[-1] if lost else 0.0) + sum(state.loss(gone) for state in states)
        order += gone.tolist()
        lost += [total] * len(gone)
        states = [state.without(gone) for state in states]
    return np.array(order), np.array(lost)


@dataclass(frozen=True, eq=False)
class _State:
    """A reading while channels go: the inverse moment and the weights' products, in units of
    the channels' own size; `energy` is all there was, `count` the number of channels.
    """

    count: int
    inverse: Array
    weights: Array
    energy: float

    @classmethod
    def of(cls, reading: Reading) -> _State:
        size = len(reading.moment)
        moment, scale = _scaled(reading.moment)
        weights = np.zeros((size, size))
        count = len(reading.weights)
        weights[:count, :count] = reading.weights
        weights *= np.outer(scale, scale)
        return cls(count, np.linalg.inv(moment), weights, reading.energy or 1.0)

    def scores(self) -> Array:
        """The loss of each channel alone, as a share; of those gone, anything."""
        inverse = np.diag(self.inverse)
        loss = np.diag(self.weights) / np.where(inverse > 0, inverse, np.inf)
        return np.asarray(loss / self.energy)[: self.count]

    def loss(self, gone: Array) -> float:
        """The share lost when these go too."""
        unexplained = np.linalg.inv(self.inverse[np.ix_(gone, gone)])
        return float(np.sum(unexplained * self.weights[np.ix_(gone, gone)]) / self.energy)

    def without(self, gone: Array) -> _State:
        """These merged into the others: Schur's complement, in the inverse and in the weights."""
        across = self.inverse[:, gone]
        mix = -across @ np.linalg.inv(across[gone])
        mix[gone] = 0.0
        cross = mix @ self.weights[gone]
        weights = self.weights + cross + cross.T + mix @ self.weights[np.ix_(gone, gone)] @ mix.T
        inverse = self.inverse - across @ np.linalg.solve(across[gone], across.T)
        weights[gone], weights[:, gone] = 0.0, 0.0
        return _State(self.count, inverse, weights, self.energy)


def _scaled(moment: Array) -> tuple[Array, Array]:
    """A moment in units of each value's own size, with a ridge; and the sizes."""
    scale = np.sqrt(np.diag(moment))
    scale = np.where(scale > 0, scale, 1.0)
    return moment / np.outer(scale, scale) + RIDGE * np.eye(len(moment)), scale


def merging(reading: Reading, kept: Array, gone: Array) -> tuple[Array, Array]:
    """What predicts the channels that go: of those kept, (kept, gone), and a constant, (gone,)."""
    count = len(reading.weights)
    moment, scale = _scaled(reading.moment)
    basis = np.concatenate([kept, np.arange(count, len(moment))])
    mix = np.linalg.solve(moment[np.ix_(basis, basis)], moment[np.ix_(basis, gone)])
    mix *= scale[gone] / scale[basis][:, None]
    constant = mix[len(kept) :].sum(0)
    return mix[: len(kept)], constant
