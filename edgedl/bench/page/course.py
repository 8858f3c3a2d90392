"""Sustained runs: how latency, clock and temperature went with time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgedl.bench.cells import show_ns
from edgedl.bench.page.axis import Axis, padded
from edgedl.bench.page.drawing import Box, across, hue, path, plot, upwards, words
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.page.panels import Entry, Panel
from edgedl.runtime.protocol import Window

LEFT, RIGHT = 64.0, 706.0
TOP, GAP = 26.0, 34.0


@dataclass(frozen=True)
class Strip:
    """One quantity by time. On a logarithmic scale a tenth looks alike in every case."""

    title: str
    value: Callable[[Window], float | None]
    show: Callable[[float], str]
    height: float
    log: bool = False

    def axis(self, seen: Sequence[float], box: Box) -> Axis:
        """A scale for these values, at least a tenth of them wide."""
        if self.log:
            low, high = (math.exp(end) for end in padded([math.log(v) for v in seen], 0.1))
        else:
            low, high = padded(seen, 0.1 * max(seen))
        return Axis(low, high, box.bottom, box.top, self.log)


STRIPS = (
    Strip(
        "median latency of each second (logarithmic)", lambda w: w.p50_ns, show_ns, 190, log=True
    ),
    Strip("clock of the fastest CPU", lambda w: w.khz, lambda khz: f"{khz / 1e6:g} GHz", 60),
    Strip("highest temperature", lambda w: w.celsius, lambda celsius: f"{celsius:g} °C", 60),
)


def windows(entry: Entry) -> tuple[Window, ...]:
    """The windows of the first launch."""
    first = next(iter(entry.row.measurements), None)
    return first.sustained.windows if first and first.sustained else ()


def draw_course(panel: Panel, name: str) -> Markup | None:
    """The panel's curves, and below them what health saw; None where nothing was sustained."""
    entries = [entry for entry in panel.timed if len(windows(entry)) > 1]
    if not entries:
        return None
    end = max(w.start_s for e in entries for w in windows(e)) + 1
    x = Axis(0, end, LEFT, RIGHT)
    parts: list[Markup] = []
    top = TOP
    for strip in STRIPS:
        known = [e for e in entries if sum(strip.value(w) is not None for w in windows(e)) > 1]
        if known:
            parts += _strip(strip, known, x, Box(LEFT, top, RIGHT, top + strip.height))
            top += strip.height + GAP
    box = Box(LEFT, TOP, RIGHT, top - GAP)
    return plot(
        name,
        f"{panel.title}: the course of the sustained runs",
        "Each second's median latency, the clock and the temperature where they are known.",
        top + 20,
        across(x, box, lambda t: f"{t:g} s", "time since the run began"),
        parts,
    )


def _strip(strip: Strip, entries: Sequence[Entry], x: Axis, box: Box) -> Iterator[Markup]:
    seen = [v for e in entries for w in windows(e) if (v := strip.value(w)) is not None]
    y = strip.axis(seen, box)
    yield words(LEFT, box.top - 8, strip.title, "axis")
    yield from upwards(y, box, strip.show, 4)
    for entry in entries:
        points = [
            (x.at(w.start_s + 0.5), y.at(v))
            for w in windows(entry)
            if (v := strip.value(w)) is not None
        ]
        named = element("title", entry.name)
        yield element("path", named, d=path(points), class_=f"curve {hue(entry.colour)}")
        yield words(points[-1][0] - 4, points[-1][1] - 6, entry.name, "label", "end")
