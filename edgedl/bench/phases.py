"""A launch's phases apart: what a start costs, cold and warm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgedl.bench.cells import samples_of, show_bytes, show_ns
from edgedl.bench.plan import Row
from edgedl.bench.report import is_timed, line_of, swept_columns
from edgedl.bench.stats import median
from edgedl.bench.table import Table
from edgedl.runtime.protocol import Measurement


def tabulate_phases(rows: Sequence[Row]) -> Table:
    """One line per case: each phase's median over launches, and the memory."""
    columns = swept_columns(rows)
    lines = tuple(
        (
            row.case.name,
            *(cells[i] for cells in columns.values()),
            *line_of(row, tuple(_CELLS), lambda row, header: _CELLS[header](row)),
        )
        for i, row in enumerate(rows)
    )
    headers = ("case", *columns, *_CELLS)
    return Table(headers, lines, tuple(_notes(rows)), keys=1 + len(columns))


def _middle(row: Row, value: Callable[[Measurement], int]) -> str:
    return show_ns(median([[value(m)] for m in row.measurements]))


def _import_cell(row: Row) -> str:
    """What a subject imports is part of its load."""
    return "in the load" if row.case.subject else _middle(row, lambda m: m.import_ns)


def _cold_cell(row: Row) -> str:
    doubtful = any(m.still_cached for m in row.measurements)
    return _middle(row, lambda m: m.load_ns) + "*" * doubtful


def _warm_cell(row: Row) -> str:
    loads = [m.warm_load_ns for m in row.measurements if m.warm_load_ns is not None]
    return show_ns(median([[load] for load in loads])) if loads else "-"


def _most(row: Row, value: Callable[[Measurement], int | None]) -> str:
    known = [value(m) for m in row.measurements]
    return show_bytes(max((v for v in known if v is not None), default=None))


_CELLS: Mapping[str, Callable[[Row], str]] = {
    "import": _import_cell,
    "cold load": _cold_cell,
    "warm load": _warm_cell,
    "first run": lambda row: _middle(row, lambda m: m.first_run_ns),
    "steady": lambda row: show_ns(median(samples_of(row))),
    "empty": lambda row: _most(row, lambda m: m.empty_resident),
    "peak": lambda row: _most(row, lambda m: m.peak_resident),
}


def _notes(rows: Sequence[Row]) -> list[str]:
    said = [
        "load: open, verify and create the session, from the disk and once more; empty, peak: "
        "resident set"
    ]
    reasons = dict.fromkeys(
        m.still_cached for row in rows if is_timed(row) for m in row.measurements if m.still_cached
    )
    return said + [f"* may not be cold: {reason}" for reason in reasons]
