"""Statistics of timings: derived from raw samples, never stored alone.

Launches are stopped by time, so a fast one has more samples than a slow one. Every
launch weighs the same here, whatever its number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

# Student's t at 97.5 % for 1, 2, ... degrees of freedom; the last one serves for more.
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip


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


def median_interval(launches: Sequence[Sequence[int]]) -> Interval | None:
    """A 95 % interval of a launch's median: Student's t over the logarithms of the medians.

    The launch is the unit, since samples of one process share its luck: its memory
    layout, its clock frequency, its neighbours. A percentile bootstrap over launches can't
    reach beyond the extreme ones: at 5 % spread between launches it held the truth in 68 %
    of trials with three launches and in 83 % with five.

    Returns:
        None from a single launch: it says nothing about the next one.
    """
    if len(launches) < 2:
        return None
    _, low, high = _geometric_mean([float(np.median(launch)) for launch in launches])
    return Interval(low, high)


def _geometric_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of two or more values and its 95 % interval: Student's t on logarithms."""
    logs = np.log(values)
    reach = T_975[min(logs.size - 2, len(T_975) - 1)] * logs.std(ddof=1) / np.sqrt(logs.size)
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
        """What the interval shows of the first case."""
        if self.high < 1:
            return "faster"
        return "slower" if self.low > 1 else "inconclusive"

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
