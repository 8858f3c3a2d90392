"""Evidence as text: a search as a table."""

from __future__ import annotations

import numpy as np

from edgedl.bench.cells import show_ns
from edgedl.bench.qualities import show_amount, show_value
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.table import Table
from edgedl.runtime.manifest import Candidate, Search

HEADERS = ("candidate", "p50", "to {}", "bytes", "quality", "verdict", "why")


def search_table(search: Search) -> Table:
    """The candidates as they were measured: the winner, the front, then the losers."""
    order = ["winner", "front", "dominated"]
    rank = {verdict: place for place, verdict in enumerate(order)}
    rows = sorted(search.candidates, key=lambda c: (rank.get(c.verdict, len(order)), _p50(c)))
    headers = tuple(header.format(search.baseline) for header in HEADERS)
    lines = tuple(_row(c, search) for c in rows)
    return Table(headers, lines, _notes(search), prose=("verdict", "why"))


def _row(candidate: Candidate, search: Search) -> tuple[str, ...]:
    p50 = _p50(candidate)
    return (
        candidate.recipe,
        "-" if p50 == float("inf") else show_ns(p50),
        _ratio_cell(candidate, search),
        "-" if candidate.bytes is None else f"{candidate.bytes:,}",
        "-" if candidate.quality is None else show_value(candidate.quality),
        candidate.verdict,
        candidate.reason,
    )


def _p50(candidate: Candidate) -> float:
    """The median of the launches' medians in ns; infinite where there was none."""
    launches = [ns for ns in candidate.medians_ns if ns is not None]
    return float(np.median(launches)) if launches else float("inf")


def _ratio_cell(candidate: Candidate, search: Search) -> str:
    if candidate.recipe == search.baseline or not candidate.medians_ns:
        return "-"
    ratio = paired_ratio(candidate.medians_ns, search.candidate(search.baseline).medians_ns)
    return "-" if ratio is None else show_ratio(ratio)


def show_ratio(ratio: Ratio) -> str:
    """A ratio with its interval: 0.62 (0.60 - 0.65)."""
    return f"{ratio.value:.2f} ({ratio.low:.2f} - {ratio.high:.2f})"


def _notes(search: Search) -> tuple[str, ...]:
    baseline = search.candidate(search.baseline)
    noise = paired_ratio(search.again_ns, baseline.medians_ns)
    equal = "" if noise is None else f"; {search.baseline} beside itself: {show_ratio(noise)}"
    source = baseline.quality
    host = search.host
    return tuple(
        note
        for note in (
            f"{len(search.again_ns)} rounds on {search.device}, {search.seconds:.0f} s; ratios of "
            f"the rounds with 95 % intervals{equal}",
            ""
            if source is None
            else f"source: {show_amount(source, source.source)} {source.metric}, "
            f"{source.samples} samples; at most {search.max_drop:g} may be lost",
            *search.notes,
            f"{host.processor}, {host.cpus} CPUs, {host.system}",
        )
        if note
    )
