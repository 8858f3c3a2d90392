"""Measurements as a table's cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl.bench.plan import Row
from edgedl.bench.stats import least_samples, median, median_interval, percentile
from edgedl.runtime.health_verdict import cautions, describe_health, kinds
from edgedl.runtime.protocol import Measurement

MEBIBYTE = 1 << 20
INVALID = "invalid"  # the column that says why a row is; see `Row.invalid`


@dataclass(frozen=True)
class Table:
    """Headers, rows of text, and notes to print below; `prose` columns are words, not numbers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()


def tabulate(rows: Sequence[Row]) -> Table:
    """One line per case; an axis that takes one value only has no column."""
    columns = {name: cells for name, cells in _swept_columns(rows).items() if len(set(cells)) > 1}
    measured = [_cells(row) for row in rows]
    if any(row.invalid for row in rows):
        columns = {INVALID: [", ".join(kinds(row.invalid)) for row in rows], **columns}
    headers = ("case", *columns, *_HEADERS)
    lines = tuple(
        (row.case.name, *(cells[i] for cells in columns.values()), *measured[i])
        for i, row in enumerate(rows)
    )
    return Table(headers, lines, tuple(_notes(rows)), (INVALID,) if INVALID in columns else ())


def _swept_columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    axes = dict.fromkeys(axis for row in rows for axis in row.case.sizes)
    return {
        "bundle": [Path(row.case.bundle).name for row in rows],
        "device": [row.case.device for row in rows],
        **{axis: [str(row.case.sizes.get(axis, "-")) for row in rows] for axis in axes},
        "threads": [str(row.case.threads or "all") for row in rows],
    }


_HEADERS = ("p50", "95 % interval", "p90", "p99", "per second", "load", "first run", "peak RSS")


def _cells(row: Row) -> tuple[str, ...]:
    if row.failure is not None or not row.measurements:
        return ("failed", *[""] * (len(_HEADERS) - 1))
    if row.wrong_answers():
        return ("wrong answer", *[""] * (len(_HEADERS) - 1))
    launches = [m.samples_ns for m in row.measurements]
    p50 = median(launches)
    interval = median_interval(launches)
    per_second = row.case.sizes.get("batch", 1) * 1e9 / p50
    return (
        show_ns(p50),
        f"{show_ns(interval.low)} - {show_ns(interval.high)}" if interval else "one launch",
        *(_percentile_cell(launches, q) for q in (0.9, 0.99)),
        f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}",
        show_ns(_middle(row, lambda m: m.load_ns)),
        show_ns(_middle(row, lambda m: m.first_run_ns)),
        _memory_cell(row),
    )


def _percentile_cell(launches: Sequence[Sequence[int]], quantile: float) -> str:
    value = percentile(launches, quantile)
    if value is None:
        return f"needs {least_samples(quantile)} samples"
    return show_ns(value)


def _memory_cell(row: Row) -> str:
    peaks = [m.peak_resident for m in row.measurements if m.peak_resident is not None]
    return f"{max(peaks) / MEBIBYTE:.0f} MiB" if peaks else "unknown"


def _middle(row: Row, value: Callable[[Measurement], int]) -> float:
    return median([[value(m) for m in row.measurements]])


def show_ns(nanoseconds: float) -> str:
    """A duration in the unit that keeps three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size * 0.9995:  # 999.5 us is shown as 1 ms
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What the cells leave out: failures, wrong answers, how much was measured, where."""
    notes = []
    for row in rows:
        if row.failure is not None:
            notes.append(f"{row.case.name} failed: {row.failure.message}")
        wrong = row.wrong_answers()
        if wrong:
            notes.append(f"{row.case.name} answers wrongly: {wrong[0]}")
        notes += [f"{row.case.name} is invalid: {reason}" for reason in row.invalid]
    done = [row for row in rows if row.measurements and row.failure is None]
    if done:
        counts = [sum(len(m.samples_ns) for m in row.measurements) for row in done]
        host = done[0].measurements[0].host
        notes.append(
            f"{len(done[0].measurements)} launches of each case, interleaved; "
            f"{min(counts)} to {max(counts)} samples; every launch weighs the same"
            "; interval of the median by Student's t over launches"
        )
        versions = ", ".join(f"{k} {v}" for k, v in host.versions.items())
        here = [h for row in done if row.case.device == done[0].case.device for h in row.health]
        notes.append(
            f"{host.processor}, {host.cpus} CPUs, {host.system}, Python {host.python}, {versions}; "
            f"{describe_health(here)}"
        )
        notes += [f"caution: {said}" for said in cautions([h for row in done for h in row.health])]
    return notes


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [table.headers, tuple("---" for _ in table.headers), *table.rows]
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join([body, "", *table.notes])
