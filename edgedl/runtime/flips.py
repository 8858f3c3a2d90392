"""Flips: positions at which another class is chosen than the source chose.

A flip's margin is how far the source's scores put its own class over the one chosen
instead, as a share of the output's spread. The spread is the RMS, over all golden
positions, of the range (largest less smallest) of a position's scores. So a margin has
no unit: logits and probabilities of any size are judged by one bound.

The spread is the output's and not the position's own, because the noise is too: a position
whose scores all lie together is flipped by the same noise as any other. And with two
classes a position's range is its margin, so every flip would have a margin of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.golden import Array, GoldenVectors


def has_positions(scores: Array) -> bool:
    """Whether the last axis holds the scores of more than one class."""
    return scores.ndim > 0 and scores.shape[-1] > 1 and scores.size > 0


def lost_scores(actual: Array, expected: Array) -> Array:
    """What each position loses by the class chosen: 0 where the classes agree.

    Args:
        actual: Scores, (..., classes); not finite only where `expected` isn't.
        expected: The source's scores, the same shape.

    Returns:
        The source's score of its own class less its score of the chosen one, float64 (...).
    """
    chosen = np.argmax(actual, -1)[..., None]
    own = np.argmax(expected, -1)[..., None]
    scores = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity less infinity, where the classes agree
        lost = np.take_along_axis(scores, own, -1) - np.take_along_axis(scores, chosen, -1)
    return np.asarray(np.where(chosen == own, 0.0, lost)[..., 0])


def is_flip(actual: Array, expected: Array) -> Array:
    """Whether each position's class is another one: bool (...)."""
    return np.asarray(np.argmax(actual, -1) != np.argmax(expected, -1))


@dataclass(frozen=True)
class Spread:
    """Running sum of the squared ranges of positions' scores."""

    squares: float = 0.0
    positions: int = 0

    def over(self, scores: Array) -> Spread:
        """With more positions, (..., classes); scores that aren't finite have no range."""
        finite = np.isfinite(scores)
        high = np.where(finite, scores, -math.inf).max(-1)
        low = np.where(finite, scores, math.inf).min(-1)
        ranges = np.where(high > low, high, 0.0) - np.where(high > low, low, 0.0)
        squares = float(np.sum(ranges.astype(np.float64) ** 2))
        return Spread(self.squares + squares, self.positions + ranges.size)

    @property
    def value(self) -> float:
        """The RMS of the ranges; 0 where there are no positions."""
        return math.sqrt(self.squares / self.positions) if self.positions else 0.0


def margins(lost: Array, spread: float) -> Array:
    """Lost scores as shares of the spread."""
    return lost / spread if spread > 0 else np.zeros_like(lost)


@dataclass
class FlipCount:
    """Running count of positions, of those that flipped, and of those that did so clearly.

    `spread` is the golden scores', `bound` the margin over which a flip is clear; None where
    none is.
    """

    spread: float
    bound: float | None
    positions: int = 0
    flips: int = 0
    clear: int = 0
    worst: float = 0.0
    worst_case: str = ""

    def add(self, case: str, lost: Array, flipped: Array) -> None:
        """Count one more case's positions: the scores they lose, and whether they flip."""
        shares = margins(lost, self.spread)
        self.positions += flipped.size
        self.flips += int(flipped.sum())
        self.clear += 0 if self.bound is None else int((shares > self.bound).sum())
        if shares.max() > self.worst or not self.worst_case:
            self.worst, self.worst_case = float(shares.max()), case

    @property
    def agreement(self) -> float | None:
        """The share of positions that did not flip."""
        return 1.0 - self.flips / self.positions if self.positions else None

    def problem(self) -> str:
        """What is said of clear flips; empty where there are none."""
        if not self.clear:
            return ""
        return (
            f"{self.clear} of {self.positions} top-1 classes flipped where the source's margin "
            f"is over {self.bound:g} of the scores' range; the largest, {self.worst:.2g}, in "
            f"case {self.worst_case}"
        )


def golden_spreads(golden: Iterable[GoldenVectors]) -> dict[str, float]:
    """The spread of every output that has positions, over all golden cases."""
    spreads: dict[str, Spread] = {}
    for vectors in (v for v in golden if v.case.kind != "text"):
        for name, scores in (*vectors.outputs.items(), *vectors.scores.items()):
            if has_positions(scores) and np.issubdtype(scores.dtype, np.floating):
                spreads[name] = spreads.get(name, Spread()).over(scores)
    return {name: spread.value for name, spread in spreads.items()}
