"""The Pareto plot: latency against quality, the size as area."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.bench.cells import show_ns
from edgedl.bench.page.axis import Axis, decimals, padded, tick_step
from edgedl.bench.page.drawing import Box, across, hue, path, plot, text_width, upwards, words
from edgedl.bench.page.labels import Label, Point, place_labels
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.page.panels import Entry, Panel
from edgedl.bench.qualities import show_value
from edgedl.runtime.manifest import Quality

HEIGHT = 452
FRAME = Box(64, 62, 706, 400)
SOURCE_PLACES = 9
LARGEST, SMALLEST = 26.0, 2.5  # radii
METRICS = {
    "accuracy": "accuracy",
    "nats": "nats per character (lower is better, and stands higher)",
    "agreement": "agreement with the source",
}


@dataclass(frozen=True)
class Mark:
    """An entry that has a place in the plot."""

    entry: Entry
    quality: Quality
    p50_ns: float
    bytes: int


def marks(panel: Panel) -> list[Mark]:
    """What can be drawn: it has timings, and its bundle says how good and how large it is.

    Where entries' qualities are of several kinds, only the first kind is.
    """
    found = [
        Mark(e, e.variant.quality, e.p50_ns, e.variant.bytes)
        for e in panel.timed
        if e.variant is not None and e.variant.quality is not None and e.p50_ns and not e.is_twin
    ]
    return [mark for mark in found if mark.quality.metric == found[0].quality.metric]


def front(marks: Sequence[Mark]) -> list[Mark]:
    """The valid ones that no other is both as fast and as good as, the fastest first."""
    kept: list[Mark] = []
    valid = [mark for mark in marks if mark.entry.standing == "valid"]
    for mark in sorted(valid, key=lambda m: (m.p50_ns, -_goodness(m))):
        if not kept or _goodness(mark) > _goodness(kept[-1]):
            kept.append(mark)
    return kept


def _goodness(mark: Mark) -> float:
    return -mark.quality.value if mark.quality.metric == "nats" else mark.quality.value


def draw_front(panel: Panel, name: str) -> Markup | None:
    """The panel's plot; None where nothing can be drawn."""
    drawn = marks(panel)
    if not drawn:
        return None
    metric = drawn[0].quality.metric
    x, y = _latencies(drawn), _qualities(drawn)
    best = front(drawn)
    source, written = _source(drawn, x, y)
    where = METRICS[metric]
    said = ", ".join(m.entry.name for m in best) or "none, for no row is valid"
    return plot(
        name,
        f"{panel.title}: latency against {metric}",
        f"Faster is farther left, better is higher, area is size. On the front: {said}.",
        HEIGHT,
        across(
            x, FRAME, show_ns, "p50 latency with its 95 % interval (logarithmic; less is better)"
        ),
        upwards(y, FRAME, lambda value: _show(value, metric, y)),
        words(FRAME.left, FRAME.top / 2 + 4, where, "axis"),
        _sizes(drawn),
        source,
        _front_line(best, x, y),
        _discs(drawn, x, y),
        _labels(best, drawn, x, y, written),
    )


def _latencies(drawn: Sequence[Mark]) -> Axis:
    ends = [m.p50_ns for m in drawn]
    ends += [end for m in drawn if (i := m.entry.interval) for end in (i.low, i.high) if end > 0]
    room = LARGEST + 8
    low, high = (math.exp(end) for end in padded([math.log(e) for e in ends], 0.2, 0.02))
    return _roomy(low, high, FRAME.left, FRAME.right, room, log=True)


def _qualities(drawn: Sequence[Mark]) -> Axis:
    values = [v for m in drawn for v in (m.quality.value, m.quality.source)]
    low, high = padded(values, 0.002, 0.02)
    down, up = FRAME.bottom, FRAME.top
    begin, end = (up, down) if drawn[0].quality.metric == "nats" else (down, up)
    return _roomy(low, high, begin, end, LARGEST + 4)


def _roomy(
    low: float, high: float, begin: float, end: float, room: float, log: bool = False
) -> Axis:
    """An axis that leaves room in pixels at both ends."""
    a, b = (math.log(low), math.log(high)) if log else (low, high)
    more = (b - a) * room / (abs(end - begin) - 2 * room)
    low, high = (math.exp(a - more), math.exp(b + more)) if log else (a - more, b + more)
    return Axis(low, high, begin, end, log)


def _show(value: float, metric: str, axis: Axis) -> str:
    factor = 1 if metric == "nats" else 100
    digits = decimals(tick_step(axis.low, axis.high, 6) * factor)
    return f"{factor * value:.{digits}f}{'' if metric == 'nats' else ' %'}"


def radius(size: int, largest: int) -> float:
    """Area goes with size; one that would be invisible is a dot."""
    return max(SMALLEST, LARGEST * math.sqrt(size / max(largest, 1)))


def _sizes(drawn: Sequence[Mark]) -> list[Markup]:
    """Two discs that tell what area means."""
    sizes = [m.bytes for m in drawn]
    parts, right = [], FRAME.right
    for size in dict.fromkeys((min(sizes), max(sizes))):
        r = radius(size, max(sizes))
        parts.append(words(right, FRAME.top / 2 + 4, show_size(size), "tick", "end"))
        right -= text_width(show_size(size)) + 8 + r
        parts.append(element("circle", cx=right, cy=FRAME.top / 2, r=r, class_="size"))
        right -= r + 14
    return [*parts, words(right, FRAME.top / 2 + 4, "area is size:", "tick", "end")]


def show_size(size: int) -> str:
    """Bytes in the unit that keeps three digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"


def _source(drawn: Sequence[Mark], x: Axis, y: Axis) -> tuple[Markup, Box]:
    """Where the source framework stands, a line across, and where that is written."""
    quality = drawn[0].quality
    text, level = f"source: {_show_source(quality)}", y.at(quality.source)
    wide = text_width(text)
    largest = max(m.bytes for m in drawn)
    discs = [_point(mark, x, y, largest).box for mark in drawn] + _bars(drawn, x, y)
    places = (
        Box(left, level + down, left + wide, level + down + 14)
        for left in np.linspace(FRAME.left + 6, FRAME.right - wide - 6, SOURCE_PLACES).tolist()
        for down in (-18, 3)
    )
    box = min(places, key=lambda place: sum(place.overlap(disc) for disc in discs))
    line = element("line", x1=FRAME.left, x2=FRAME.right, y1=level, y2=level, class_="source")
    return element("g", line, words(box.left, box.bottom - 3, text, "tick label")), box


def _bars(drawn: Sequence[Mark], x: Axis, y: Axis) -> list[Box]:
    """What the whiskers cover."""
    return [
        Box(x.at(i.low), y.at(m.quality.value) - 4, x.at(i.high), y.at(m.quality.value) + 4)
        for m in drawn
        if (i := m.entry.interval)
    ]


def _point(mark: Mark, x: Axis, y: Axis, largest: int) -> Point:
    return Point(
        x.at(mark.p50_ns), y.at(mark.quality.value), radius(mark.bytes, largest), _label(mark)
    )


def _show_source(quality: Quality) -> str:
    return show_value(Quality(quality.metric, quality.source, quality.source, 1.0, 0))


def _front_line(best: Sequence[Mark], x: Axis, y: Axis) -> Markup | None:
    """Steps: what can be had at a latency is what the best one so far has."""
    if not best:
        return None
    points: list[tuple[float, float]] = []
    for mark in best:
        if points:
            points.append((x.at(mark.p50_ns), points[-1][1]))
        points.append((x.at(mark.p50_ns), y.at(mark.quality.value)))
    return element("path", d=path(points), class_="front")


def _discs(drawn: Sequence[Mark], x: Axis, y: Axis) -> list[Markup]:
    """The largest first, so that none is hidden."""
    largest = max(m.bytes for m in drawn)
    return [
        element("g", _whisker(m, x, y), _disc(m, x, y, largest), element("title", describe(m)))
        for m in sorted(drawn, key=lambda m: -m.bytes)
    ]


def _whisker(mark: Mark, x: Axis, y: Axis) -> Markup | None:
    interval = mark.entry.interval
    if interval is None:
        return None
    low, high, level = x.at(interval.low), x.at(interval.high), y.at(mark.quality.value)
    ends = f"M{low:.1f},{level - 4:.1f}v8M{low:.1f},{level:.1f}H{high:.1f}m0,-4v8"
    return element("path", d=ends, class_=f"whisker {hue(mark.entry.colour)}")


def _disc(mark: Mark, x: Axis, y: Axis, largest: int) -> Markup:
    hollow = "" if mark.entry.standing == "valid" else " hollow"
    return element(
        "circle",
        cx=x.at(mark.p50_ns),
        cy=y.at(mark.quality.value),
        r=radius(mark.bytes, largest),
        class_=f"disc {hue(mark.entry.colour)}{hollow}",
    )


def describe(mark: Mark) -> str:
    """A mark in a line."""
    entry = mark.entry
    interval = (
        ""
        if entry.interval is None
        else (f" ({show_ns(entry.interval.low)} - {show_ns(entry.interval.high)})")
    )
    facts = [
        f"p50 {show_ns(mark.p50_ns)}{interval}",
        show_value(mark.quality),
        f"{mark.bytes:,} bytes",
    ]
    invalid = f"; invalid: {entry.reason}" if entry.reason else ""
    return f"{entry.name}: {', '.join(facts)}{invalid}"


def _labels(
    best: Sequence[Mark], drawn: Sequence[Mark], x: Axis, y: Axis, source: Box
) -> list[Markup]:
    largest = max(m.bytes for m in drawn)
    ordered = [*best, *(m for m in drawn if m not in best)]
    points = [_point(m, x, y, largest) for m in ordered]
    placed = place_labels(points, [source, *_bars(drawn, x, y)], FRAME)
    return [
        element("g", _leader(point, label), _label_text(point, label, mark in best))
        for mark, point, label in zip(ordered, points, placed, strict=True)
    ]


def _label(mark: Mark) -> str:
    return mark.entry.name + (" (invalid)" if mark.entry.standing == "invalid" else "")


def _leader(point: Point, label: Label) -> Markup | None:
    if not label.led:
        return None
    box = label.box
    x = min(max(point.x, box.left), box.right)
    y = min(max(point.y, box.top + 2), box.bottom - 2)
    return element("line", x1=point.x, y1=point.y, x2=x, y2=y, class_="leader")


def _label_text(point: Point, label: Label, on_front: bool) -> Markup:
    middle = (label.box.left + label.box.right) / 2
    kind = "label best" if on_front else "label"
    return words(middle, label.box.bottom - 3, point.text, kind, "middle")
