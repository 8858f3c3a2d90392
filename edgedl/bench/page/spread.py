"""Latency distributions: every case's samples, launches apart, nothing clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgedl.bench.cells import show_ns
from edgedl.bench.page.axis import Axis
from edgedl.bench.page.drawing import WIDTH, Box, hue, path, plot, words
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.page.panels import Entry, Panel
from edgedl.bench.stats import least_samples, percentile

LEFT, RIGHT = 14.0, WIDTH - 14.0
TAIL = 190.0  # pixels for what lies beyond the break
BAND, HILL = 66.0, 30.0  # a case's height, and its curve's
BIN = 3.0  # pixels of a bar
BREAK = 1.6  # the range has a break where its end is so much farther than the bulk
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class Times:
    """Where times stand: a logarithmic axis for the bulk, and behind a break one for the tail."""

    bulk: Axis
    tail: Axis | None

    def at(self, ns: float) -> float:
        """The pixel of a time in nanoseconds; none is too short for the left end."""
        ns = max(ns, self.bulk.low)
        beyond = self.tail is not None and ns > self.bulk.high
        return self.tail.at(ns) if beyond and self.tail is not None else self.bulk.at(ns)


def time_axis(entries: Sequence[Entry]) -> Times:
    """An axis for all samples of these entries: the bulk is up to the slowest case's p90 or so."""
    pooled = [np.concatenate([np.asarray(launch) for launch in e.samples]) for e in entries]
    low = float(min(samples.min() for samples in pooled))
    high = float(max(samples.max() for samples in pooled)) * 1.001
    knee = max(float(np.quantile(samples, 0.9)) for samples in pooled) * 1.25
    low = max(min(low, high / 1.2) / 1.02, 0.5)  # a clock may be too coarse for a run
    high, knee = max(high, low), max(knee, low)
    if high <= knee * BREAK:
        return Times(Axis(low, max(high, low * 1.2), LEFT, RIGHT, log=True), None)
    edge = RIGHT - TAIL
    return Times(
        Axis(low, max(knee, low * 1.1), LEFT, edge - 6, log=True),
        Axis(max(knee, low * 1.1), high, edge + 6, RIGHT, log=True),
    )


def draw_spread(panel: Panel, name: str) -> Markup | None:
    """The panel's distributions, one below the other; None without timings."""
    entries = panel.timed
    if not entries:
        return None
    times = time_axis(entries)
    bottom = BAND * len(entries) + 8
    box = Box(LEFT, 4, RIGHT, bottom)
    return plot(
        name,
        f"{panel.title}: latency distributions",
        "One band a case: how often each latency was seen, a tick for each launch's median, "
        "marks at p50, p90 and p99, dots for single samples beyond three interquartile ranges.",
        bottom + 46,
        _frame(times, box, _title(entries)),
        [_band(entry, times, 4 + BAND * i) for i, entry in enumerate(entries)],
    )


def _title(entries: Sequence[Entry]) -> str:
    if any(entry.row.case.open_loop for entry in entries):
        return "latency from when a request was due (logarithmic)"
    return "latency of a run (logarithmic)"


def _frame(times: Times, box: Box, title: str) -> list[Markup]:
    parts = []
    for axis, most, few in ((times.bulk, 6, 3), (times.tail, 4, 2)):
        for tick in axis.ticks(most, few) if axis else ():
            x = times.at(tick)
            parts += [
                element("line", x1=x, x2=x, y1=box.top, y2=box.bottom, class_="grid"),
                words(x, box.bottom + 17, show_ns(tick), "tick", "middle"),
            ]
    if times.tail:
        edge = times.tail.begin - 6
        parts += [
            element(
                "rect", x=edge, y=box.top, width=RIGHT - edge, height=box.bottom - box.top,
                class_="tail",
            ),
            element(
                "path", d=f"M{edge - 4:.1f},{box.bottom + 5:.1f}l3,-10m2,10l3,-10", class_="break"
            ),
            words((edge + RIGHT) / 2, box.bottom + 36, "the tail, compressed", "axis", "middle"),
        ]  # fmt: skip
    middle = (times.bulk.begin + times.bulk.end) / 2
    return [*parts, words(middle, box.bottom + 36, title, "axis", "middle")]


def _band(entry: Entry, times: Times, top: float) -> Markup:
    base = top + 20 + HILL
    hollow = "" if entry.standing == "valid" else " hollow"
    return element(
        "g",
        element(
            "rect", x=LEFT, y=top + 3, width=9, height=9, rx=2, class_=f"chip {hue(entry.colour)}"
        ),
        words(LEFT + 15, top + 12, _name(entry), "label best"),
        words(RIGHT, top + 12, _figures(entry), "figures", "end"),
        element("path", d=_hill(entry, times, base), class_=f"hill {hue(entry.colour)}{hollow}"),
        element("line", x1=LEFT, x2=RIGHT, y1=base, y2=base, class_="base"),
        _outliers(entry, times, base),
        _marks(entry, times, base),
        _launches(entry, times, base),
        element("title", f"{_name(entry)}: {_figures(entry)}"),
    )


def _name(entry: Entry) -> str:
    return entry.name + (f" (invalid: {entry.reason.partition(':')[0]})" if entry.reason else "")


def _figures(entry: Entry) -> str:
    """The percentiles that are earned, why others aren't, and the largest sample."""
    cells = []
    for name, quantile in QUANTILES.items():
        value = entry.p50_ns if name == "p50" else percentile(entry.samples, quantile)
        needs = f"needs {least_samples(quantile):,} samples"
        cells.append(f"{name} {needs if value is None else show_ns(value)}")
    return ", ".join([*cells, f"max {show_ns(max(map(max, entry.samples)))}"])


def _hill(entry: Entry, times: Times, base: float) -> str:
    """How much of the samples lies in each bar, every launch weighing the same."""
    edges = _edges(times)
    shares = np.mean([_histogram(launch, edges) for launch in entry.samples], axis=0)
    widths = np.diff([times.at(edge) for edge in edges])
    heights = shares / np.maximum(widths, 1e-9)
    heights *= HILL / (heights.max() or 1.0)
    points = [(times.at(edges[0]), base)]
    for (left, right), height in zip(pairwise(edges), heights, strict=True):
        points += [(times.at(left * (1 + 1e-12)), base - height), (times.at(right), base - height)]
    return path(_simplified([*points, (points[-1][0], base)]), closed=True)


def _simplified(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without points in the middle of level stretches."""
    kept = list(points[:1])
    for before, point, after in zip(points, points[1:], points[2:], strict=False):
        if not before[1] == point[1] == after[1]:
            kept.append(point)
    return [*kept, points[-1]]


def _edges(times: Times) -> list[float]:
    """Bars' edges in nanoseconds, so that each is `BIN` pixels wide."""
    edges: list[float] = []
    for axis in filter(None, (times.bulk, times.tail)):
        count = max(1, round((axis.end - axis.begin) / BIN))
        edges += np.geomspace(axis.low, axis.high, count + 1)[bool(edges) :].tolist()
    return edges


def _histogram(
    launch: Sequence[int], edges: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    counts, _ = np.histogram(launch, edges)
    return counts / len(launch)


def _outliers(entry: Entry, times: Times, base: float) -> Markup | None:
    """Single samples beyond the outer fences; those on one pixel are one dot."""
    pixels = {
        round(times.at(sample)) for launch in entry.samples for sample in beyond_fences(launch)
    }
    if not pixels:
        return None
    dots = "".join(f"M{x},{base:.1f}h0" for x in sorted(pixels))
    return element("path", d=dots, class_=f"dots {hue(entry.colour)}")


def beyond_fences(launch: Sequence[int]) -> list[int]:
    """Samples more than three interquartile ranges outside their launch's quartiles.

    Source: the outer fences of J. W. Tukey, Exploratory Data Analysis (1977).
    """
    samples = np.asarray(launch)
    low, high = np.quantile(samples, (0.25, 0.75))
    reach = 3 * (high - low)
    out: list[int] = samples[(samples < low - reach) | (samples > high + reach)].tolist()
    return out


def _marks(entry: Entry, times: Times, base: float) -> list[Markup]:
    """Lines at the percentiles that may be told."""
    found = {name: percentile(entry.samples, q) for name, q in QUANTILES.items()}
    found["p50"] = entry.p50_ns
    return [
        element("path", d=f"M{times.at(ns):.1f},{base:.1f}v{-HILL - 2}", class_=f"mark {name}")
        for name, ns in found.items()
        if ns is not None
    ]


def _launches(entry: Entry, times: Times, base: float) -> Markup:
    """A tick below the line for each launch's median."""
    ticks = "".join(
        f"M{times.at(float(np.median(launch))):.1f},{base + 2:.1f}v6" for launch in entry.samples
    )
    return element("path", d=ticks, class_=f"launch {hue(entry.colour)}")
