"""The verdict on one output: running totals over its golden cases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from edgedl.runtime.flips import FlipCount, has_positions, is_flip, lost_scores
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import OutputParity, Tolerance

# All cases together hide one that is broken; one alone may be a handful of numbers, whose
# ratio scatters. Each must come within a factor of four of the noise allowed in all.
CASE_MARGIN_DB = 6.0

# NumPy's kinds of integers and booleans. An index that is one too large is as wrong as one
# that is a hundred too large: they have no noise, they are right or not.
WHOLE = "iub"


@dataclass(frozen=True)
class Role:
    """What an output is for.

    State is reported, not held to a noise ratio. `classes` has its flips counted, and
    `answer` has them judged.
    """

    state: bool = False
    classes: bool = False
    answer: bool = False


@dataclass
class Tally:
    """Running totals over the cases of one output; `spread` is its golden scores'."""

    name: str
    tolerance: Tolerance
    role: Role
    spread: float
    cases: int = 0
    whole: bool = False
    signal: float = 0.0
    noise: float = 0.0
    least_sqnr: float = math.inf
    noisiest_case: str = ""
    dot: float = 0.0
    actual_power: float = 0.0
    max_abs: float = 0.0
    max_rel: float = 0.0
    excess: float = -math.inf
    multiple: float = 0.0
    worst_case: str = ""
    counted: FlipCount = field(init=False)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counted = FlipCount(self.spread, self.tolerance.flip_margin)

    def add(
        self, case: str, actual: Array | None, expected: Array, scores: Array | None = None
    ) -> None:
        """Compare the output of one more case; `scores` are for a `DecisionTally` only."""
        self.cases += 1
        problem = structural_problem(actual, expected)
        if problem or actual is None:
            self.problems.append(f"{case}: {problem}")
            self.worst_case = self.worst_case or case
            return
        if expected.dtype.kind in WHOLE:
            self.whole = True
            self.counted.positions += expected.size
            self.counted.flips += int(np.sum(actual != expected))
        elif self.role.classes and has_positions(expected):
            lost = lost_scores(actual, expected)
            self.counted.add(case, lost, is_flip(actual, expected))
        a, b = actual.astype(np.float64), expected.astype(np.float64)
        finite = np.isfinite(b)
        a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        if b.size:
            self._accumulate(case, a, b)

    def _accumulate(self, case: str, a: Array, b: Array) -> None:
        error = np.abs(a - b)
        magnitude = np.abs(b)
        signal, noise = float(np.sum(b * b)), float(np.sum(error * error))
        self.signal += signal
        self.noise += noise
        sqnr = decibels(signal, noise)
        if sqnr < self.least_sqnr:
            self.least_sqnr, self.noisiest_case = sqnr, case
        self.dot += float(np.sum(a * b))
        self.actual_power += float(np.sum(a * a))
        self.max_abs = max(self.max_abs, float(error.max()))
        relative = np.divide(error, magnitude, out=np.zeros_like(error), where=magnitude > 0)
        self.max_rel = max(self.max_rel, float(relative.max()))
        allowed = (self.tolerance.atol or 0.0) + (self.tolerance.rtol or 0.0) * magnitude
        excess = float((error - allowed).max())
        if excess > self.excess or not self.worst_case:
            self.excess, self.worst_case = excess, case
        unbounded = np.where(error > 0, math.inf, 0.0)
        multiple = np.divide(error, allowed, out=unbounded, where=allowed > 0)
        self.multiple = max(self.multiple, float(multiple.max()))

    def verdict(self) -> OutputParity:
        """What all cases together say."""
        sqnr = None if self.noise == 0.0 else decibels(self.signal, self.noise)
        power = math.sqrt(self.signal * self.actual_power)
        reason = "; ".join(self.problems[:3]) or self._out_of_tolerance(sqnr)
        element_wise = self.tolerance.element_wise and math.isfinite(self.multiple)
        return OutputParity(
            output=self.name,
            passed=not reason,
            max_abs=self.max_abs,
            max_rel=self.max_rel,
            worst_case=self.worst_case,
            sqnr_db=sqnr,
            cosine=self.dot / power if power > 0 else None,
            top1=self.counted.agreement,
            reason=reason,
            least_multiple=self.multiple if element_wise else None,
            positions=self.counted.positions,
            flips=self.counted.flips,
            clear_flips=self.counted.clear,
            worst_flip=self.counted.worst,
        )

    def _out_of_tolerance(self, sqnr: float | None) -> str:
        limit, attainable = self.tolerance, math.isfinite(self.multiple)
        if self.whole:
            return self._otherwise()
        if limit.element_wise and self.excess > 0:
            return (
                f"max |a-b| {self.max_abs:.3g} in case {self.worst_case} is over "
                f"{limit.atol or 0.0:g} + {limit.rtol or 0.0:g}*|b|"
                + (f"; {self.multiple:.3g} times that would do" if attainable else "")
            )
        return self._too_noisy(sqnr) or (self.counted.problem() if self.role.answer else "")

    def _otherwise(self) -> str:
        allowed = 0.0 if self.tolerance.element_wise else self.tolerance.max_drop or 0.0
        flips, positions = self.counted.flips, self.counted.positions
        share = 100.0 * flips / positions if positions else 0.0
        if share <= allowed or (self.role.state and not self.tolerance.element_wise):
            return ""
        return (
            f"{flips} of {positions} whole numbers differ, one in case "
            f"{self.worst_case}; at most {allowed:g} % may"
        )

    def _too_noisy(self, sqnr: float | None) -> str:
        limit = self.tolerance.min_sqnr_db
        # State is no answer: what its noise does is seen in the outputs of later steps.
        if limit is None or sqnr is None or self.role.state:
            return ""
        if sqnr < limit:
            return f"SQNR {sqnr:.1f} dB is under {limit:g} dB"
        least = limit - CASE_MARGIN_DB
        if self.least_sqnr >= least:
            return ""
        return f"SQNR {self.least_sqnr:.1f} dB in case {self.noisiest_case} is under {least:g} dB"


def decibels(signal: float, noise: float) -> float:
    """A ratio of powers in dB; noise without any signal is 300 dB louder."""
    return math.inf if noise == 0.0 else 10 * math.log10(signal / noise or 1e-30)


def structural_problem(actual: Array | None, expected: Array) -> str:
    """Why two outputs can't be compared element by element; empty where they can."""
    if actual is None:
        return "the output is missing"
    if actual.shape != expected.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if actual.dtype != expected.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    if np.issubdtype(expected.dtype, np.floating):
        same = (np.isfinite(actual) & np.isfinite(expected)) | (actual == expected)
        same |= np.isnan(actual) & np.isnan(expected)
        if not same.all():
            return f"{int((~same).sum())} values are NaN or infinite on one side only"
    return ""
