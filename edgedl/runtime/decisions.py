"""Outputs that give classes instead of scores: how far from the source's they are.

The scores stay inside the model; the source's own travel in the golden vectors. So a class
that differs is judged as a flip of the scores would be: by what it loses there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgedl.runtime.flips import FlipCount
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import OutputParity, Tolerance
from edgedl.runtime.tally import structural_problem


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
    broken_case: str = ""
    excess: float = 0.0
    counted: FlipCount = field(init=False)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counted = FlipCount(self.spread, self.tolerance.flip_margin)

    def add(
        self, case: str, actual: Array | None, expected: Array, scores: Array | None = None
    ) -> None:
        """Compare the output of one more case, by the source's scores behind it."""
        self.cases += 1
        problem = _problem(actual, expected, scores)
        if problem or actual is None or scores is None:
            self.problems.append(f"{case}: {problem}")
            self.broken_case = self.broken_case or case
            return
        if not expected.size:
            return
        ours, theirs = chosen_scores(actual, scores), chosen_scores(expected, scores)
        positions = scores.ndim - 1
        flipped = first_choice(actual, positions) != first_choice(expected, positions)
        lost = np.abs(theirs - ours)
        self.counted.add(case, lost[..., 0], flipped)
        self.max_abs = max(self.max_abs, float(lost[..., 0].max()))
        limit = self.tolerance
        if limit.element_wise:
            magnitude = np.abs(ours) + np.abs(theirs)
            allowed = 2 * (limit.atol or 0.0) + (limit.rtol or 0.0) * magnitude
            self.excess = max(self.excess, float((lost - allowed).max()))

    def verdict(self) -> OutputParity:
        """What all cases together say; `max_abs` is the largest score that a flip lost."""
        reason = "; ".join(self.problems[:3]) or self._too_far() or self.counted.problem()
        return OutputParity(
            output=self.name,
            passed=not reason,
            max_abs=self.max_abs,
            max_rel=0.0,
            worst_case=self.broken_case or self.counted.worst_case,
            top1=self.counted.agreement,
            reason=reason,
            positions=self.counted.positions,
            flips=self.counted.flips,
            clear_flips=self.counted.clear,
            worst_flip=self.counted.worst,
        )

    def _too_far(self) -> str:
        if self.excess <= 0:
            return ""
        return f"another class is chosen, {self.max_abs:.3g} under the source's own"


def _problem(actual: Array | None, expected: Array, scores: Array | None) -> str:
    problem = structural_problem(actual, expected)
    if problem or actual is None:
        return problem
    if scores is None:
        return "the source's scores behind it are missing"
    if actual.size and (actual.min() < 0 or actual.max() >= scores.shape[-1]):
        return f"a class outside 0 to {scores.shape[-1] - 1}"
    return ""
