"""Labels beside points, so that none covers another, nor a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgedl.bench.page.drawing import Box, text_width

HEIGHT = 14.0
GAPS = (4.0, 14.0, 28.0, 44.0, 62.0)
DIRECTIONS = (0, 180, 270, 90, 315, 45, 225, 135)  # degrees, clockwise from the right
OUTSIDE = 40.0  # how much worse a pixel outside the plot is than one that is covered
FAR = 6.0  # a pixel of distance costs as much as so many covered ones


@dataclass(frozen=True)
class Point:
    """A disc to label."""

    x: float
    y: float
    radius: float
    text: str

    @property
    def box(self) -> Box:
        """What it covers."""
        r = self.radius
        return Box(self.x - r, self.y - r, self.x + r, self.y + r)


@dataclass(frozen=True)
class Label:
    """Where a point's label stands; `led` where it is so far that a line should lead there."""

    box: Box
    led: bool


def place_labels(points: Sequence[Point], taken: Sequence[Box], frame: Box) -> list[Label]:
    """A place for each point's label, those before have the first choice.

    Args:
        points: What to label.
        taken: What else mustn't be covered.
        frame: Where labels have to be.
    """
    placed: list[Label] = []
    for point in points:
        others = [p.box for p in points] + [label.box for label in placed] + list(taken)
        placed.append(min(_places(point), key=lambda label: _cost(point, label, others, frame)))
    return placed


def _places(point: Point) -> Iterator[Label]:
    width = text_width(point.text)
    for gap in GAPS:
        for degrees in DIRECTIONS:
            across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            x = point.x + across * (point.radius + gap + width / 2)
            y = point.y + down * (point.radius + gap + HEIGHT / 2)
            box = Box(x - width / 2, y - HEIGHT / 2, x + width / 2, y + HEIGHT / 2)
            yield Label(box, gap > GAPS[0])


def _cost(point: Point, label: Label, others: Sequence[Box], frame: Box) -> float:
    box = label.box
    outside = (
        max(frame.left - box.left, 0) + max(box.right - frame.right, 0)
        + max(frame.top - box.top, 0) + max(box.bottom - frame.bottom, 0)
    )  # fmt: skip
    covered = sum(box.overlap(other) for other in others)
    away = math.hypot(
        (box.left + box.right) / 2 - point.x,
        (box.top + box.bottom) / 2 - point.y,
    )
    return covered * 10 + outside * OUTSIDE + FAR * max(0.0, away - point.radius)
