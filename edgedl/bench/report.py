"""Measurements as a table's cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgedl.bench.cells import (
    QUANTILES,
    cell,
    overload,
    samples_of,
    served_of,
    show_bytes,
    show_count,
    show_ns,
)
from edgedl.bench.circumstances import troubles
from edgedl.bench.plan import Row
from edgedl.bench.stats import percentile
from edgedl.bench.table import Table, width
from edgedl.runtime.health_verdict import cautions, describe_health, kinds
from edgedl.runtime.host import Host

NARROW = 120  # columns of a terminal
UNTOLD = ("numpy", "msgspec")  # of the versions; the JSON and the pages have all
INVALID = "invalid"  # the column that says why a row is; see `Row.invalid`


def tabulate(rows: Sequence[Row]) -> Table:
    """One line per case; an axis that takes one value only has no column.

    p95 and p99.9 are there where every case has the samples for them and the table stays
    narrow.
    """
    columns = swept_columns(rows)
    prose: tuple[str, ...] = ()
    if any(row.invalid for row in rows):
        columns = {INVALID: [", ".join(kinds(row.invalid)) for row in rows], **columns}
        prose = (INVALID,)
    table = _table(rows, columns, QUANTILES)
    timed = [row for row in rows if is_timed(row)]
    earned = [percentile(samples_of(row), max(QUANTILES.values())) for row in timed]
    if not (timed and all(earned)) or width(table) > NARROW:
        table = _table(rows, columns, {"p90": 0.9, "p99": 0.99})
    return replace(table, notes=tuple(_notes(rows)), prose=prose)


def _table(
    rows: Sequence[Row], columns: dict[str, list[str]], quantiles: Mapping[str, float]
) -> Table:
    paced = any(row.case.open_loop for row in rows)
    pace = ("rate", "missed") if paced else ("per second",)
    headers = ("p50", "95 % interval", *quantiles, *pace, "outliers", "memory")
    lines = tuple(
        (row.case.name, *(cells[i] for cells in columns.values()), *line_of(row, headers, cell))
        for i, row in enumerate(rows)
    )
    return Table(("case", *columns, *headers), lines, keys=1 + len(columns))


def swept_columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What tells the rows apart: the axes that take more than one value, a cell for each row."""
    axes = dict.fromkeys(axis for row in rows for axis in row.case.sizes)
    columns: dict[str, list[str]] = {
        "bundle": [Path(row.case.bundle).name for row in rows],
        "device": [row.case.device for row in rows],
        "mode": [row.case.mode for row in rows],
        **{axis: [str(row.case.sizes.get(axis, "-")) for row in rows] for axis in axes},
        "threads": [str(row.case.threads or "all") for row in rows],
        "spinning": [_switch(row.case.spinning) for row in rows],
        "arena": [_switch(row.case.arena) for row in rows],
    }
    return {name: cells for name, cells in columns.items() if len(set(cells)) > 1}


def _switch(state: bool | None) -> str:
    return "default" if state is None else "on" if state else "off"


def is_timed(row: Row) -> bool:
    """Whether a row has timings to show: it ran, and answered rightly."""
    return row.failure is None and bool(row.measurements) and not row.wrong_answers()


def line_of(row: Row, headers: Sequence[str], cell: Callable[[Row, str], str]) -> tuple[str, ...]:
    """A row's cells, or in the first one why there are none."""
    if row.failure is not None:
        return ("failed", *[""] * (len(headers) - 1))
    if not row.measurements:
        return ("not measured", *[""] * (len(headers) - 1))
    if row.wrong_answers():
        return ("wrong answer", *[""] * (len(headers) - 1))
    return tuple(cell(row, header) for header in headers)


def _notes(rows: Sequence[Row]) -> list[str]:
    """What the cells leave out: failures, wrong answers, how much was measured, where."""
    notes = [*troubles(rows), *(note for row in rows for note in _pace_notes(row))]
    done = [row for row in rows if row.measurements and row.failure is None]
    if not done:
        return notes
    counts = [sum(len(m.samples_ns) for m in row.measurements) for row in done]
    launches = [len(row.measurements) for row in done]
    notes.append(
        f"{_from_to(launches)} launch{'es' * (max(launches) > 1)} and {_from_to(counts)} "
        f"sample{'s' * (max(counts) > 1)} of each case{_empty_memory(done)}"
    )
    health = [report for row in done for report in row.health]
    return [*notes, *_machine_notes(done), *(f"caution: {said}" for said in cautions(health))]


def _machine_notes(done: Sequence[Row]) -> list[str]:
    """Where it was measured; of several machines each with its rows, as when files are read."""
    found: dict[str, list[Row]] = {}
    for row in done:
        found.setdefault(_machine(row.measurements[0].host), []).append(row)
    notes = []
    for machine, rows in found.items():
        names = ", ".join(dict.fromkeys(row.case.name for row in rows))
        health = describe_health([report for row in rows for report in row.health])
        notes.append(f"{names} on " * (len(found) > 1) + f"{machine}; {health}")
    return notes


def _machine(host: Host) -> str:
    versions = [f"{k} {v}" for k, v in host.versions.items() if k not in UNTOLD]
    told = (host.processor, f"{host.cpus} CPUs", host.system, f"Python {host.python}", *versions)
    return ", ".join(told)


def _pace_notes(row: Row) -> list[str]:
    """What must be known of a row whose requests came faster than they were answered."""
    load, pace = overload(row), row.case.open_loop
    if load is None or pace is None:
        return []
    each = sum(s.busy_s for s in served_of(row)) / sum(s.served for s in served_of(row))
    return [
        f"{row.case.name} can't keep up with {show_count(pace.rate)} per second: a request takes "
        f"{show_ns(each * 1e9)}, {load:.3g} times the distance between two; the longer it "
        "goes on, the longer the queue and its latencies"
    ]


def _from_to(counts: Sequence[int]) -> str:
    ends = dict.fromkeys((min(counts), max(counts)))
    return " to ".join(f"{count:,}" for count in ends)


def _empty_memory(done: Sequence[Row]) -> str:
    empty = [m.empty_resident for row in done for m in row.measurements if m.empty_resident]
    return f"; memory over an empty Python's {show_bytes(max(empty))}" if empty else ""
