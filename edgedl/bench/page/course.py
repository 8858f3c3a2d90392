"""Sustained runs: how latency, clock and temperature went with time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgedl.bench.page.axis import Axis, padded
from edgedl.bench.page.drawing import Box, across, hue, path, plot, upwards, words
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.page.panels import Entry, Panel
from edgedl.bench.report import show_ns
from edgedl.runtime.protocol import Window

LEFT, RIGHT = 64.0, 706.0
TALL, LOW, GAP = 190.0, 60.0, 34.0
Value = Callable[[Window], float | None]


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
    parts: list[list[Markup] | Markup] = []
    top = 26.0
    for title, value, show, height in STRIPS:
        known = [e for e in entries if sum(value(w) is not None for w in windows(e)) > 1]
        if known:
            parts += _strip(known, x, Box(LEFT, top, RIGHT, top + height), title, value, show)
            top += height + GAP
    box = Box(LEFT, 26, RIGHT, top - GAP)
    return plot(
        name,
        f"{panel.title}: the course of the sustained runs",
        "Each second's median latency, the clock and the temperature where they are known.",
        top + 20,
        across(x, box, lambda t: f"{t:g} s", "time since the run began"),
        parts,
    )


def _strip(
    entries: Sequence[Entry],
    x: Axis,
    box: Box,
    title: str,
    value: Value,
    show: Callable[[float], str],
) -> list[Markup | list[Markup]]:
    seen = [v for e in entries for w in windows(e) if (v := value(w)) is not None]
    low, high = padded(seen, 0.1 * max(seen))
    y = Axis(low, high, box.bottom, box.top)
    lines: list[Markup | list[Markup]] = [
        words(LEFT, box.top - 8, title, "axis"),
        upwards(y, box, show, 4),
    ]
    for entry in entries:
        points = [
            (x.at(w.start_s + 0.5), y.at(v)) for w in windows(entry) if (v := value(w)) is not None
        ]
        lines.append(
            element(
                "path",
                element("title", entry.name),
                d=path(points),
                class_=f"curve {hue(entry.colour)}",
            )
        )
        lines.append(words(points[-1][0] - 4, points[-1][1] - 6, entry.name, "label", "end"))
    return lines


STRIPS: tuple[tuple[str, Value, Callable[[float], str], float], ...] = (
    ("median latency of each second", lambda w: w.p50_ns, show_ns, TALL),
    ("clock of the fastest CPU", lambda w: w.khz, lambda khz: f"{khz / 1e6:g} GHz", LOW),
    ("highest temperature", lambda w: w.celsius, lambda celsius: f"{celsius:g} °C", LOW),
)
