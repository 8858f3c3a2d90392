"""`A vs B`: the ratio of each pair as a line with its interval."""

from __future__ import annotations

import math

from edgedl.bench.compare import Compared, Comparison
from edgedl.bench.comparison_table import (
    sentence,
    show_interval,
    show_verdict,
    tabulate_comparisons,
)
from edgedl.bench.page.axis import Axis, padded
from edgedl.bench.page.drawing import Box, across, plot, words
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.page.tables import draw_table, notes
from edgedl.bench.stats import Ratio

LEFT, RIGHT = 14.0, 706.0
BAND = 52.0
READING = (
    "Left of 1, B takes less time than A.",
    "The grey band is what A differs by from itself, launched again: what lies within it shows "
    "nothing.",
)
SHAPES = {"faster": "good", "slower": "bad"}


def draw_comparison(compared: Compared) -> Markup:
    """The sentences, the plot, the table."""
    said = [element("li", sentence(c)) for c in compared.comparisons]
    table = draw_table(tabulate_comparisons(compared), "Each pair, A beside B")
    drawn = element("div", _forest(compared), notes(READING), class_="split")
    return element("div", element("ul", said, class_="verdicts"), drawn, table)


def _forest(compared: Compared) -> Markup | None:
    pairs = [(c, c.ratio) for c in compared.comparisons if c.ratio is not None]
    if not pairs:
        return None
    ends = [math.log(end) for _, r in pairs for end in (r.low, r.high)]
    low, high = padded([0.0, *ends], 0.2)
    x = Axis(math.exp(low), math.exp(high), LEFT, RIGHT, log=True)
    box = Box(LEFT, 6, RIGHT, 6 + BAND * len(pairs))
    return plot(
        "versus",
        "How much of A's time B takes",
        "Left of 1 B is faster. The band around 1 is what equal files differ by.",
        box.bottom + 46,
        across(x, box, lambda ratio: f"{ratio:g}", "B's time by A's, 95 % interval (logarithmic)"),
        element("line", x1=x.at(1), x2=x.at(1), y1=box.top, y2=box.bottom, class_="one"),
        [_line(c, ratio, x, box.top + BAND * i) for i, (c, ratio) in enumerate(pairs)],
    )


def _line(comparison: Comparison, ratio: Ratio, x: Axis, top: float) -> Markup:
    level = top + 32
    kind = SHAPES.get(comparison.verdict, "open")
    ends = f"M{x.at(ratio.low):.1f},{level - 5:.1f}v10M{x.at(ratio.low):.1f},{level:.1f}"
    name = " ".join(filter(None, (comparison.case, f"{comparison.b} to {comparison.a}")))
    return element(
        "g",
        _noise(comparison, x, level),
        element("path", d=f"{ends}H{x.at(ratio.high):.1f}m0,-5v10", class_=f"ratio {kind}"),
        element("circle", cx=x.at(ratio.value), cy=level, r=5, class_=f"ratio {kind}"),
        words(LEFT, top + 14, name, "label best"),
        words(
            RIGHT, top + 14, f"{show_interval(ratio)}: {show_verdict(comparison)}", "figures", "end"
        ),
    )


def _noise(comparison: Comparison, x: Axis, level: float) -> Markup | None:
    if comparison.noise is None:
        return None
    left = max(LEFT, x.at(1 / comparison.noise))
    right = min(RIGHT, x.at(comparison.noise))
    return element("rect", x=left, y=level - 9, width=right - left, height=18, class_="noise")
