"""Comparisons in words: a table, and a sentence each."""

from __future__ import annotations

from edgedl.bench.cells import show_ns
from edgedl.bench.compare import Compared, Comparison
from edgedl.bench.stats import Ratio
from edgedl.bench.table import Table

HEADERS = ("case", "A", "B", "p50 of A", "p50 of B", "B to A (95 %)", "equal files", "verdict")


def tabulate_comparisons(compared: Compared) -> Table:
    """One line per pair, and what is to be known beside it."""
    rows = tuple(_cells(comparison) for comparison in compared.comparisons)
    return Table(HEADERS, rows, tuple(_notes(compared)), prose=("A", "B", "verdict"))


def _cells(comparison: Comparison) -> tuple[str, ...]:
    a_ns, b_ns, ratio, noise = (
        comparison.a_ns, comparison.b_ns, comparison.ratio, comparison.noise,
    )  # fmt: skip
    return (
        comparison.case,
        comparison.a,
        comparison.b,
        "-" if a_ns is None else show_ns(a_ns),
        "-" if b_ns is None else show_ns(b_ns),
        "-" if ratio is None else show_interval(ratio),
        "unknown" if noise is None else f"up to {noise:.2f}",
        show_verdict(comparison),
    )


def show_interval(ratio: Ratio) -> str:
    """A ratio and its interval, a third digit where that is narrow."""
    digits = 3 if ratio.high - ratio.low < 0.02 else 2
    value, low, high = (
        f"{factor:.{digits}f}" if factor < 1000 else f"{factor:.2g}"
        for factor in (ratio.value, ratio.low, ratio.high)
    )
    return f"{value} ({low} - {high})"


def show_verdict(comparison: Comparison) -> str:
    """The verdict on B, marked where the machine is another one."""
    where = "" if comparison.same_machine else ", on different machines"
    return comparison.verdict + where


def sentence(comparison: Comparison) -> str:
    """What was found of one pair, in a line."""
    name = f"{comparison.case}: {comparison.b}" if comparison.case else comparison.b
    if comparison.ratio is None:
        return f"{name} against {comparison.a}: {comparison.verdict}, {comparison.reason}"
    noise = (
        "" if comparison.noise is None else f"; equal files differ by up to {comparison.noise:.2f}"
    )
    return (
        f"{name} takes {show_interval(comparison.ratio)} of {comparison.a}'s time: "
        f"{show_verdict(comparison)}{noise}{_launches(comparison)}"
    )


def _launches(comparison: Comparison) -> str:
    """What an inconclusive comparison would have taken."""
    needed = comparison.launches_to_tell
    if comparison.verdict != "inconclusive" or needed is None:
        return ""
    percent = f"{100 * (comparison.tell - 1):.3g} %"
    if needed <= min(comparison.launches):
        if (comparison.noise or 1) < comparison.tell:
            return f"; {percent} would most likely have been told"
        return f": too much to tell {percent} apart"
    return f"; to tell {percent} apart takes about {needed:,} launches of each"


def _notes(compared: Compared) -> list[str]:
    notes = ["B to A: how much of A's time B takes"]
    for side, names in (("A", compared.only_a), ("B", compared.only_b)):
        notes += [f"only in {side}, not compared: {name}" for name in names]
    cautions = dict.fromkeys(c for comparison in compared.comparisons for c in comparison.cautions)
    return [*notes, *(f"differs: {caution}" for caution in cautions)]
