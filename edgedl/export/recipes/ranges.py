"""Ranges of tensors, gathered one batch after the other in memory that doesn't grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.golden import Array

# Bins of a histogram over [-top, top]. `top` doubles where a value is past it, so at least a
# quarter of the bins lie within the range that was seen.
BINS = 8192
# onnxruntime's default of 99.999 cuts one value in 100,000; a hundredth of a percent is what
# NVIDIA's evaluation settled on for most networks (Wu et al. 2020, arXiv:2004.09602, table 5).
PERCENTILE = 99.99
# Levels that values of one sign fall into: half of those of 8 bits where both signs occur.
LEVELS, LEVELS_OF_A_SIGN = 255, 128
# The entropy method's bins over the values' reach: this many to twice as many; and the step
# from one threshold that is tried to the next.
ENTROPY_BINS, ENTROPY_STEP = 1024, 8
# Fewer values a bin than this are no distribution but single values: bins are made wider.
LEAST_IN_A_BIN = 8
# What a bin counts that the quantised values never fall into but clipped ones do: without it
# one outlier would make every divergence infinite.
SMOOTHING = 1e-4
# A divergence doesn't see how far off a clipped value lies. A threshold may cost this many
# times the squared error of the whole range: 6 dB.
CLIPPING_COST = 4.0

Range = tuple[float, float]


@dataclass(frozen=True)
class Extremes:
    """The least and the largest value so far."""

    low: float = math.inf
    high: float = -math.inf

    def plus(self, values: Array) -> Extremes:
        """With more values; the infinity that fills a mask says nothing of a range."""
        values = values[np.isfinite(values)]
        if not values.size:
            return self
        return Extremes(min(self.low, float(values.min())), max(self.high, float(values.max())))

    @property
    def range(self) -> Range:
        """The least and the largest value; zeros where there was none."""
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often values fell into each of `BINS` bins over [-top, top].

    `counts` is int64, (BINS,). While every value was zero, `top` is zero.
    """

    counts: Array
    top: float
    extremes: Extremes

    @classmethod
    def empty(cls) -> Histogram:
        """Of no values."""
        return cls(np.zeros(BINS, np.int64), 0.0, Extremes())

    def plus(self, values: Array) -> Histogram:
        """With more values; the range doubles until those that are finite are in it."""
        # The width of [-top, top] may be past float32, as a mask's filling of -3.4e38 makes it.
        values = values[np.isfinite(values)].astype(np.float64)
        reach = float(np.abs(values).max(initial=0.0))
        counts, top = self.counts, self.top
        if top == 0.0:
            top = reach
        while reach > top:
            merged = counts.reshape(-1, 2).sum(1)
            counts = np.pad(merged, BINS // 4)
            top *= 2
        width = top or 1.0
        more, _ = np.histogram(values, BINS, (-width, width))
        return Histogram(counts + more, top, self.extremes.plus(values))

    def percentile(self, percent: float = PERCENTILE) -> Range:
        """The range that holds this percentage of the values, as many cut at either end."""
        total = int(self.counts.sum())
        if not total or self.top == 0.0:
            return self.extremes.range
        cut = (100.0 - percent) / 200.0 * total
        summed = np.cumsum(self.counts)
        left = int(np.searchsorted(summed, cut, "right"))
        right = int(np.searchsorted(summed, total - cut, "left")) + 1
        edges = np.linspace(-self.top, self.top, BINS + 1)
        low, high = self.extremes.range
        return max(low, float(edges[left])), min(high, float(edges[right]))

    def entropy(self) -> Range:
        """The range that, clipped and quantised, tells least apart from the values.

        The threshold whose quantised distribution has the least Kullback-Leibler divergence
        from the one that was seen, among those that cost no more than `CLIPPING_COST`; the
        whole range where the values are too few to tell. The bin around zero counts as the next
        one does: a Relu's zeros, which are exact at any scale, would outweigh all else (so in
        NVIDIA's pytorch-quantization). Source: S. Migacz, "8-bit inference with TensorRT", GTC
        2017.
        """
        low, high = self.extremes.range
        if self.top == 0.0:
            return low, high
        half = BINS // 2
        used = math.ceil(max(abs(low), abs(high)) / self.top * half)
        crowd = math.ceil(LEAST_IN_A_BIN * used / int(self.counts.sum()))
        together = max(1, used // ENTROPY_BINS, crowd)
        both = self.counts[half:] + self.counts[:half][::-1]
        both = np.pad(both[:used], (0, -used % together)).astype(np.float64)
        counts = both.reshape(-1, together).sum(1)
        counts[0] = counts[min(1, len(counts) - 1)]
        levels = LEVELS if low >= 0.0 or high <= 0.0 else LEVELS_OF_A_SIGN
        tried = [*range(levels, len(counts), ENTROPY_STEP), len(counts)]
        most = CLIPPING_COST * _squared_error(counts, len(counts), levels)
        affordable = [n for n in tried if _squared_error(counts, n, levels) <= most]
        kept = min(affordable, key=lambda n: _divergence(counts, n, levels))
        threshold = self.top * kept * together / half
        return max(low, -threshold), min(high, threshold)


def _divergence(counts: Array, kept: int, levels: int) -> float:
    """Of the first `kept` bins, the rest clipped into the last, from their quantised selves."""
    inside = counts[:kept]
    clipped = inside.copy()
    clipped[-1] += counts[kept:].sum()
    # Each level spreads what fell into it evenly over its bins that are not empty.
    starts = np.arange(levels) * kept // levels
    level = np.repeat(np.arange(levels), np.diff(np.append(starts, kept)))
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    mean = np.add.reduceat(inside, starts) / np.maximum(filled, 1.0)
    quantised = np.where(inside > 0, mean[level], 0.0)
    seen = clipped > 0
    q = np.maximum(quantised[seen], SMOOTHING)
    p, q = clipped[seen] / clipped.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def _squared_error(counts: Array, kept: int, levels: int) -> float:
    """Of all values, in bins: rounded to a level up to `kept`, clipped to it beyond."""
    rounded = float(counts[:kept].sum()) * (kept / levels) ** 2 / 12
    beyond = np.arange(len(counts) - kept) + 0.5
    return rounded + float(np.sum(counts[kept:] * beyond**2))
