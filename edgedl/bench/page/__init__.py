"""One HTML page that tells a whole run, needs nothing else, and keeps the raw samples."""

from __future__ import annotations

from collections.abc import Iterator

from edgedl.bench.drift import tabulate_course
from edgedl.bench.findings import Findings, named_rows
from edgedl.bench.page.course import draw_course
from edgedl.bench.page.front import draw_front, front, marks
from edgedl.bench.page.header import draw_header
from edgedl.bench.page.markup import Child, Markup, element
from edgedl.bench.page.operators import draw_profile
from edgedl.bench.page.panels import Entry, Panel, panels
from edgedl.bench.page.record import embed, thin
from edgedl.bench.page.spread import draw_spread
from edgedl.bench.page.style import STYLE
from edgedl.bench.page.summary import cards
from edgedl.bench.page.tables import draw_table, notes
from edgedl.bench.page.versus import draw_comparison
from edgedl.bench.parity_table import parity_table
from edgedl.bench.phases import tabulate_phases
from edgedl.bench.report import tabulate
from edgedl.bench.table import Table

# Nothing may be fetched, and nothing runs: the page has no scripts.
GENERATOR = "edgedl bench page"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render(findings: Findings) -> str:
    """The page."""
    kept, every = thin(findings.rows)
    sections = list(_sections(findings))
    return "<!doctype html>\n" + element(
        "html",
        _head(findings),
        element(
            "body",
            draw_header(findings, [(name, title) for name, title, _ in sections]),
            element("main", [_section(*section) for section in sections]),
            _footer(every),
            embed(kept, findings.profiles, every, 1 + bool(findings.roles)),
        ),
        lang="en",
    )


def _head(findings: Findings) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("link", rel="icon", href="data:,"),
        element("title", f"Bench of {', '.join(findings.bundles)}"),
        element("style", Markup(STYLE)),
    )


def _section(name: str, title: str, body: Child) -> Markup:
    return element("section", element("h2", title), body, id=name)


def _sections(findings: Findings) -> Iterator[tuple[str, str, Child]]:
    """What the page has to tell, in order: an id, a title, the content."""
    if findings.compared is not None:
        yield "comparison", "A against B", draw_comparison(findings.compared)
    for number, panel in enumerate(panels(findings) if findings.rows else []):
        yield f"panel-{number}", panel.title, _panel(panel, f"p{number}")
    if findings.profiles:
        yield "profile", "Time by operator", [draw_profile(p) for p in findings.profiles]
    parity = parity_table(findings)
    if parity.rows or parity.notes:
        caption = "Each output beside the source framework's"
        yield "parity", "Parity", draw_table(parity, caption)
    if findings.rows:
        yield "table", "All cases", [draw_table(table, said) for said, table in _tables(findings)]


def _tables(findings: Findings) -> Iterator[tuple[str, Table]]:
    """Every table of numbers, with its caption."""
    rows = named_rows(findings)
    yield "Timings", tabulate(rows)
    if any(row.case.sustained_s for row in rows):
        yield "How sustained runs changed with time", tabulate_course(rows)
    yield "What a start costs, phase by phase", tabulate_phases(rows)


def _panel(panel: Panel, name: str) -> Child:
    plots = (
        ("Latency against quality", draw_front(panel, f"{name}-front"), _front_notes(panel)),
        ("Latency distributions", draw_spread(panel, f"{name}-spread"), SPREAD),
        ("The course of time", draw_course(panel, f"{name}-course"), ()),
    )
    return [
        cards(panel),
        *(
            [element("h3", title), element("div", drawn, notes(said), class_="split")]
            for title, drawn, said in plots
            if drawn is not None
        ),
        notes(_left_out(panel)),
    ]


SPREAD = (
    "Each curve tells how often a latency was seen, every launch weighing the same; all curves "
    "are equally high.",
    "Lines: p50, p90 (dashed), p99 (dotted), each only from samples enough.",
    "Ticks below: each launch's median. Dots: single samples beyond three interquartile ranges. "
    "Nothing is clipped.",
)


def _front_notes(panel: Panel) -> list[str]:
    best = front(marks(panel)) if len(marks(panel)) > 1 else []
    said = (
        ["The line joins, by medians, what no other is both as fast and as accurate as."]
        if best
        else []
    )
    said += [f"{len(best)} on it: {', '.join(m.entry.name for m in best)}."] if best else []
    said += ["Dashed across: the source framework's quality."]
    drawn = {mark.entry.place for mark in marks(panel)}
    absent = [e.name for e in panel.timed if e.place not in drawn and not e.is_twin]
    said += [f"Not here, for its quality isn't known: {', '.join(absent)}."] if absent else []
    hollow = [e for e in panel.timed if e.standing == "invalid"]
    return [*said, *(f"Hollow: {e.name} is invalid, {e.reason}." for e in hollow)]


def _left_out(panel: Panel) -> list[str]:
    """What has no timings or no plot, and why."""
    words = {"failed": "failed", "wrong": "answers wrongly"}
    said = [f"{e.name} {words[e.standing]}: {e.reason}" for e in panel.entries if _untimed(e)]
    if panel.timed and not marks(panel):
        said.append(
            "Latency isn't plotted against quality, of which no bundle tells (labelled samples at "
            "export would)."
        )
    return said


def _untimed(entry: Entry) -> bool:
    return entry.standing in ("failed", "wrong")


def _footer(every: int) -> Markup:
    """What of the raw samples is in the page."""
    kept = (
        "Every raw sample is in this page"
        if every == 1
        else f"One in {every} raw samples is in this page (the figures are of all of them; "
        "--json keeps all)"
    )
    return element(
        "footer",
        element("p", f"{kept}, as JSON lines in ", element("code", '<script id="rows">'), "."),
        element("p", "Written by edgedl bench. It fetches nothing and runs no script."),
    )
