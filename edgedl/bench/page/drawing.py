"""Parts of a plot: the frame, ticks, marks; every plot is as wide, and grows downwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgedl.bench.page.axis import Axis
from edgedl.bench.page.markup import Child, Markup, element

WIDTH = 720
PALETTE = 8  # colours in the style sheet
CHARACTER = 6.4  # pixels of an average one in a plot's type


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The common area."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(across, 0.0) * max(down, 0.0)


def plot(name: str, title: str, description: str, height: float, *children: Child) -> Markup:
    """An SVG that scales with the page, and says what it shows to who can't see it.

    Args:
        name: Unique in the page.
        title: A few words.
        description: What can be seen.
        height: In pixels, at `WIDTH`.
        children: What is drawn.
    """
    drawn = element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *children,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    return element("div", drawn, class_="scroll plot")


def across(axis: Axis, box: Box, show: Callable[[float], str], title: str) -> list[Markup]:
    """An axis below the box, its grid, and its title."""
    return [
        *(
            element("line", x1=axis.at(t), x2=axis.at(t), y1=box.top, y2=box.bottom, class_="grid")
            for t in axis.ticks()
        ),
        *(words(axis.at(t), box.bottom + 17, show(t), "tick", "middle") for t in axis.ticks()),
        words((box.left + box.right) / 2, box.bottom + 38, title, "axis", "middle"),
    ]


def upwards(axis: Axis, box: Box, show: Callable[[float], str], most: int = 6) -> list[Markup]:
    """An axis left of the box, and its grid."""
    return [
        part
        for tick in axis.ticks(most)
        for part in (
            element(
                "line", x1=box.left, x2=box.right, y1=axis.at(tick), y2=axis.at(tick), class_="grid"
            ),
            words(box.left - 8, axis.at(tick) + 4, show(tick), "tick", "end"),
        )
    ]


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> Markup:
    """Text at a point."""
    where = None if anchor == "start" else anchor
    return element("text", text, x=x, y=y, class_=kind or None, text_anchor=where)


def path(points: Sequence[tuple[float, float]], closed: bool = False) -> str:
    """A path's data through the points."""
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"M{steps}{'Z' if closed else ''}"


def hue(colour: int) -> str:
    """The class of a colour."""
    return f"c{colour % PALETTE}"


def text_width(text: str) -> float:
    """About how many pixels a text takes."""
    return CHARACTER * len(text)
