"""The cards above a panel: the fastest, the smallest, the most accurate."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.cells import show_ns
from edgedl.bench.page.front import show_size
from edgedl.bench.page.markup import Child, Markup, element
from edgedl.bench.page.panels import Entry, Panel, round_ratio
from edgedl.bench.qualities import show_value
from edgedl.runtime.manifest import Quality

BEST = ("Fastest", "Smallest", "Most accurate")
ALONE = ("Latency", "Size", "Quality")


def cards(panel: Panel) -> Markup | None:
    """The best of the valid rows, or what the only one is like; None where there is none."""
    if not panel.candidates:
        return None
    titles = BEST if len(panel.candidates) > 1 else ALONE
    drawn = [
        card(panel, title) for card, title in zip((_fastest, _smallest, _best), titles, strict=True)
    ]
    return element("div", drawn, class_="cards")


def _card(title: str, name: str, figure: str, *more: Child) -> Markup:
    return element(
        "div",
        element("h3", title),
        element("p", name, class_="who"),
        element("p", figure, class_="figure"),
        *(element("p", said, class_="more") for said in more if said),
        class_="card",
    )


def _fastest(panel: Panel, title: str) -> Markup:
    best = min(panel.candidates, key=lambda e: e.p50_ns or 0.0)
    return _card(
        title, best.name, show_ns(best.p50_ns or 0.0), ratio_words(best), _rivals(best, panel)
    )


def ratio_words(entry: Entry) -> str:
    """How much of fp32's time it takes."""
    r = entry.ratio
    if r is None:
        return ""
    return f"{r.value:.2f} ({r.low:.2f} - {r.high:.2f}) of fp32's time"


def _rivals(best: Entry, panel: Panel) -> str:
    """Those that the rounds don't tell from the fastest."""
    if len(panel.candidates) > 1 and len(best.row.measurements) == 1:
        return "one launch each: it may be chance"
    alike = [
        other.name
        for other in panel.candidates
        if other is not best
        and ((ratio := round_ratio(best.row, other.row)) is None or ratio.verdict != "faster")
    ]
    return f"not told apart from {_listed(alike)}" if alike else ""


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _smallest(panel: Panel, title: str) -> Markup | None:
    known = [(e, e.variant) for e in panel.candidates if e.variant is not None]
    if not known:
        return None
    best, variant = min(known, key=lambda pair: (pair[1].bytes, pair[0].p50_ns or 0.0))
    whole = max(v.bytes for _, v in known)
    share = "" if whole == variant.bytes else f"{variant.bytes / whole:.1%} of the largest"
    return _card(title, best.name, show_size(variant.bytes), share, ratio_words(best))


def _best(panel: Panel, title: str) -> Markup | None:
    known = [(e, e.variant.quality) for e in panel.candidates if e.variant and e.variant.quality]
    if not known:
        return None
    best, quality = min(known, key=lambda pair: (pair[1].drop, pair[0].p50_ns or 0.0))
    drop = _drop(quality)
    return _card(title, best.name, show_value(quality), drop, ratio_words(best))


def _drop(quality: Quality) -> str:
    unit = "%" if quality.metric == "nats" else "points"
    if abs(quality.drop) < 0.005:
        return "equal to the source"
    word = "less" if quality.drop > 0 else "more"
    if quality.metric == "nats":
        word = "worse" if quality.drop > 0 else "better"
    return f"{abs(quality.drop):.2f} {unit} {word} than the source, {quality.samples:,} samples"
