"""Statistics of timings: derived from raw samples, never stored alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
# Within a launch a resample of this many draws is as good as one of all of them.
MOST_DRAWS = 500


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
    samples = np.concatenate([np.asarray(launch, np.float64) for launch in launches])
    if samples.size < least_samples(quantile):
        return None
    return float(np.quantile(samples, quantile))


def median(launches: Sequence[Sequence[int]]) -> float:
    """The median over all launches."""
    return float(np.median(np.concatenate([np.asarray(x, np.float64) for x in launches])))


def median_interval(launches: Sequence[Sequence[int]], seed: int = 0) -> Interval | None:
    """A 95 % interval of the median: a bootstrap over launches, then within them.

    Launches are resampled because samples of one process share its luck: its memory
    layout, its clock frequency, its neighbours. Percentile bootstrap, Efron and
    Tibshirani, An Introduction to the Bootstrap, ch. 13.

    Returns:
        None from a single launch: it says nothing about the next one.
    """
    if len(launches) < 2:
        return None
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(launch, np.float64) for launch in launches]
    medians = [_resampled_median(arrays, rng) for _ in range(RESAMPLES)]
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(low), float(high))


def _resampled_median(arrays: list[NDArray[np.float64]], rng: np.random.Generator) -> float:
    chosen = rng.integers(0, len(arrays), len(arrays))
    draws = [
        arrays[i][rng.integers(0, arrays[i].size, min(arrays[i].size, MOST_DRAWS))] for i in chosen
    ]
    return float(np.median(np.concatenate(draws)))
