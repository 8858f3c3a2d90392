"""Outputs that give classes instead of scores: how far from the source's they are.

The scores stay inside the model; the source's own travel in the golden vectors. So a class
that differs is judged as a flip of the scores would be: by what it loses there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgedl.runtime.flips import margins
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import OutputParity, Tolerance
from edgedl.runtime.tally import Tally


def first_choice(chosen: Array, positions: int) -> Array:
    """The class in the first place.

    Args:
        chosen: int64 classes, one per position, or K per position on a last axis of its own.
        positions: How many axes the positions have.
    """
    return chosen[..., 0] if chosen.ndim > positions else chosen


def as_scores(chosen: Array, shape: tuple[int, ...]) -> Array:
    """Scores, (..., classes), in which the class in the first place is the largest."""
    first = first_choice(chosen, len(shape) - 1)
    return np.asarray(np.arange(shape[-1]) == first[..., None], np.float32)


def chosen_scores(chosen: Array, scores: Array) -> Array:
    """The source's scores of the classes chosen.

    Args:
        chosen: int64 classes, (...) or (..., K).
        scores: The source's, (..., classes).

    Returns:
        float64, (..., K); K is 1 where there is one class per position.
    """
    places = chosen.reshape((*scores.shape[:-1], -1))
    return np.asarray(np.take_along_axis(scores.astype(np.float64), places, -1))


@dataclass
class DecisionTally:
    """Running totals over the cases of one such output; `spread` is its golden scores'.

    A quantised model is held to the class in the first place, an element-wise tolerance to
    every place: a class may differ where the scores are so near each other that both could
    be off by what is allowed.
    """

    name: str
    tolerance: Tolerance
    spread: float
    cases: int = 0
    max_abs: float = 0.0
    worst_case: str = ""
    positions: int = 0
    flips: int = 0
    clear_flips: int = 0
    worst_flip: float = 0.0
    excess: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, case: str, actual: Array | None, expected: Array, scores: Array) -> None:
        """Compare the output of one more case."""
        self.cases += 1
        problem = _problem(actual, expected, scores)
        if problem or actual is None:
            self.problems.append(f"{case}: {problem}")
            self.worst_case = self.worst_case or case
            return
        if not expected.size:
            return
        ours, theirs = chosen_scores(actual, scores), chosen_scores(expected, scores)
        positions = scores.ndim - 1
        flipped = first_choice(actual, positions) != first_choice(expected, positions)
        self._count(case, np.abs(theirs - ours)[..., 0], flipped)
        limit = self.tolerance
        if limit.element_wise:
            magnitude = np.abs(ours) + np.abs(theirs)
            allowed = 2 * (limit.atol or 0.0) + (limit.rtol or 0.0) * magnitude
            self.excess = max(self.excess, float((np.abs(theirs - ours) - allowed).max()))

    def _count(self, case: str, lost: Array, flipped: Array) -> None:
        shares = margins(lost, self.spread)
        bound = self.tolerance.flip_margin
        self.positions += flipped.size
        self.flips += int(flipped.sum())
        self.clear_flips += 0 if bound is None else int((shares > bound).sum())
        self.max_abs = max(self.max_abs, float(lost.max()))
        if shares.max() > self.worst_flip or not self.worst_case:
            self.worst_flip, self.worst_case = float(shares.max()), case

    def verdict(self) -> OutputParity:
        """What all cases together say; `max_abs` is the largest score that a flip lost."""
        reason = "; ".join(self.problems[:3]) or self._clearly_flipped()
        return OutputParity(
            output=self.name,
            passed=not reason,
            max_abs=self.max_abs,
            max_rel=0.0,
            worst_case=self.worst_case,
            top1=1.0 - self.flips / self.positions if self.positions else None,
            reason=reason,
            positions=self.positions,
            flips=self.flips,
            clear_flips=self.clear_flips,
            worst_flip=self.worst_flip,
        )

    def _clearly_flipped(self) -> str:
        if self.excess > 0:
            return f"another class is chosen, {self.max_abs:.3g} under the source's own"
        if not self.clear_flips:
            return ""
        return (
            f"{self.clear_flips} of {self.positions} top-1 classes flipped where the source's "
            f"margin is over {self.tolerance.flip_margin:g} of the scores' range; the largest, "
            f"{self.worst_flip:.2g}, in case {self.worst_case}"
        )


def add(
    tally: Tally | DecisionTally,
    case: str,
    actual: Array | None,
    expected: Array,
    scores: Array | None,
) -> None:
    """Compare one more case, by the scores behind it where the output gives classes."""
    if isinstance(tally, Tally):
        tally.add(case, actual, expected)
    elif scores is not None:
        tally.add(case, actual, expected, scores)


def _problem(actual: Array | None, expected: Array, scores: Array) -> str:
    if actual is None:
        return "the output is missing"
    if actual.shape != expected.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if actual.dtype != expected.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    if actual.size and (actual.min() < 0 or actual.max() >= scores.shape[-1]):
        return f"a class outside 0 to {scores.shape[-1] - 1}"
    return ""
