"""Statistics of timings: derived from raw samples, never stored alone.

Launches are stopped by time, so a fast one has more samples than a slow one. Every
launch weighs the same here, whatever its number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

# Student's t at 97.5 % for 1, 2, ... 20 degrees of freedom, and what it comes to at infinity.
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
Z_975 = 1.960
ROUNDED = 1e-9
# How far beyond 1.96 standard errors a difference has to be to be told in 4 of 5 attempts; and
# where it has to lie beyond the interval of a twin of the same rounds too (by simulation).
BEYOND, BEYOND_TWIN = 0.842, 1.70


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the samples."""

    low: float
    high: float


@cache
def least_samples(quantile: float) -> int:
    """How many samples a percentile needs before it may be reported.

    The smallest n that leaves, with 99 % probability, at least two samples beyond the
    quantile, so that no single outlier is the percentile: with X ~ Binomial(n, 1 - q),
    P(X >= 2) >= 0.99. That is 11 for the median, 64 for p90, 130 for p95, 662 for p99.
    """
    n = 2
    while quantile**n + n * (1 - quantile) * quantile ** (n - 1) > 0.01:
        n += 1
    return n


def percentile(launches: Sequence[Sequence[int]], quantile: float) -> float | None:
    """A quantile over all launches; None from fewer samples than `least_samples`."""
    if sum(len(launch) for launch in launches) < least_samples(quantile):
        return None
    return _weighted_quantile(launches, quantile)


def median(launches: Sequence[Sequence[int]]) -> float:
    """The median over all launches."""
    return _weighted_quantile(launches, 0.5)


def _weighted_quantile(launches: Sequence[Sequence[int]], quantile: float) -> float:
    """The inverse of the launches' mean distribution function; their halfway mean at a step."""
    samples = np.concatenate([np.asarray(launch, np.float64) for launch in launches])
    weights = np.concatenate([np.full(len(launch), 1 / len(launch)) for launch in launches])
    order = np.argsort(samples, kind="stable")
    samples, share = samples[order], np.cumsum(weights[order]) / len(launches)
    # Shares are sums of rounded fractions: a step within 1e-9 of the quantile is on it.
    low = samples[min(int(np.searchsorted(share, quantile - 1e-9)), samples.size - 1)]
    high = samples[min(int(np.searchsorted(share, quantile + 1e-9)), samples.size - 1)]
    return float((low + high) / 2)


def outliers(launches: Sequence[Sequence[int]]) -> int:
    """How many samples lie more than three interquartile ranges outside their launch's quartiles.

    Source: the outer fences of J. W. Tukey, Exploratory Data Analysis (1977). They are counted,
    and stay in every other number.
    """
    count = 0
    for launch in launches:
        low, high = np.quantile(launch, (0.25, 0.75))
        reach = 3 * (high - low)
        samples = np.asarray(launch)
        count += int(np.count_nonzero((samples < low - reach) | (samples > high + reach)))
    return count


def median_interval(launches: Sequence[Sequence[int]]) -> Interval | None:
    """A 95 % interval of a launch's median: Student's t over the logarithms of the medians.

    The launch is the unit, since samples of one process share its luck: its memory
    layout, its clock frequency, its neighbours. A bootstrap over launches can't reach beyond
    the extreme ones: of five it holds the truth in 79 to 84 % of trials, this in 89 to 96 %
    unless they fall into two groups (82 %); benchmarks/intervals.py.

    Returns:
        None from a single launch: it says nothing about the next one.
    """
    if len(launches) < 2:
        return None
    _, low, high = _geometric_mean([float(np.median(launch)) for launch in launches])
    return Interval(low, high)


def t_975(degrees: float) -> float:
    """Student's t at 97.5 %, for one degree of freedom or more.

    Between the table's values it is nearly linear in 1 / degrees, and the line lies above it
    (by less than 0.002 from 20 degrees on): what is made of it errs on the wide side.
    """
    steps = [0.0, *(1 / d for d in range(len(T_975), 0, -1))]
    return float(np.interp(1 / degrees, steps, [Z_975, *T_975[::-1]]))


def _geometric_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of two or more values and its 95 % interval: Student's t on logarithms."""
    logs = np.log(values)
    reach = t_975(logs.size - 1) * logs.std(ddof=1) / np.sqrt(logs.size)
    mean, low, high = np.exp([logs.mean(), logs.mean() - reach, logs.mean() + reach]).tolist()
    return mean, low, high


@dataclass(frozen=True)
class Ratio:
    """How much longer one case takes than another, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["faster", "slower", "inconclusive"]:
        """What the interval shows of the first case; a rounding error beyond 1 is none."""
        if self.high < 1 - ROUNDED:
            return "faster"
        return "slower" if self.low > 1 + ROUNDED else "inconclusive"

    @property
    def distance(self) -> float:
        """How far the ratio is from 1 either way, as a factor of 1 or more: 1.25 for 0.8."""
        return max(self.value, 1 / self.value)

    @property
    def reach(self) -> float:
        """The farther end of the interval as a factor of 1 or more: 1.05 for 0.98 to 1.05."""
        return max(self.high, 1 / self.low)


def paired_ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio | None:
    """The ratio of two cases that were launched in the same rounds.

    Student's t over the differences of the rounds' logarithms: what slows a whole round down
    (a neighbour, the clock frequency) is in both and drops out.

    Args:
        ours: One median per round; None where the case was not launched.
        theirs: The other case's, of the same rounds.

    Returns:
        None with fewer than two rounds in common.
    """
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(both) < 2:
        return None
    return Ratio(*_geometric_mean([a / b for a, b in both]))


def unpaired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """The ratio of two cases that were launched at different times: one median per launch each.

    Welch's t on logarithms, the degrees of freedom after Welch and Satterthwaite. Source:
    B. L. Welch, The generalization of "Student's" problem, Biometrika 34 (1947) 28-35.

    Returns:
        None where either has fewer than two launches.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    a, b = np.log(ours), np.log(theirs)
    errors = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    total = float(errors.sum())
    degrees = total**2 / float((errors**2 / [a.size - 1, b.size - 1]).sum()) if total else 1.0
    reach = t_975(degrees) * total**0.5
    apart = float(a.mean() - b.mean())
    return Ratio(*np.exp([apart, apart - reach, apart + reach]).tolist())


def launches_to_tell(factor: float, spread: float, beside_twin: bool = False) -> int:
    """How many launches of each tell cases apart that differ by a factor, in 4 of 5 attempts.

    The least n with (t(97.5 %, n - 1) + z(80 %)) spread / sqrt(n) <= ln(factor), the usual
    sample size of a t test; more where equal files are launched beside and may not differ as
    much either.

    Args:
        factor: Over 1, such as 1.05 for 5 %.
        spread: Of a round's log ratio, a standard deviation: that of `paired_ratio`'s rounds,
            or both cases' variances added up where they are not paired.
        beside_twin: Whether the ratio is held to a twin's interval too.
    """
    wanted = math.log(factor)
    beyond = BEYOND_TWIN if beside_twin else BEYOND
    n = max(2, math.ceil(((Z_975 + beyond) * spread / wanted) ** 2))
    while (t_975(n - 1) + beyond) * spread > wanted * math.sqrt(n):
        n += 1
    return n


def ratio_through(ours: Ratio, theirs: Ratio) -> Ratio:
    """The ratio of two cases that share no round, each compared with a third one.

    Source: G. Y. Zou and A. Donner, Construction of confidence limits about effect measures,
    Statistics in Medicine 27 (2008) 1693-1702: the distances from estimate to limit add up
    like standard errors. Here on logarithms.
    """
    a, a_low, a_high = np.log([ours.value, ours.low, ours.high])
    b, b_low, b_high = np.log([theirs.value, theirs.low, theirs.high])
    low = a - b - np.hypot(a - a_low, b_high - b)
    high = a - b + np.hypot(a_high - a, b - b_low)
    return Ratio(*(float(np.exp(x)) for x in (a - b, low, high)))
