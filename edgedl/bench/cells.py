"""What the cells of a table say of a row's measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgedl.bench.plan import Row
from edgedl.bench.stats import least_samples, median, median_interval, outliers, percentile
from edgedl.runtime.protocol import Served

MEBIBYTE = 1 << 20
QUANTILES = {"p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def cell(row: Row, header: str) -> str:
    """One cell of a row that is timed, by its column's header."""
    launches = samples_of(row)
    if header in QUANTILES:
        return _percentile_cell(launches, QUANTILES[header])
    return _CELLS[header](row)


def samples_of(row: Row) -> list[tuple[int, ...]]:
    """The samples of every launch, in nanoseconds."""
    return [m.samples_ns for m in row.measurements]


def _interval_cell(row: Row) -> str:
    interval = median_interval(samples_of(row))
    return f"{show_ns(interval.low)} - {show_ns(interval.high)}" if interval else "one launch"


def _throughput_cell(row: Row) -> str:
    return show_count(row.case.sizes.get("batch", 1) * 1e9 / median(samples_of(row)))


def show_count(number: float) -> str:
    """Something per second with three digits or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _outliers_cell(row: Row) -> str:
    launches = samples_of(row)
    count = outliers(launches)
    return f"{100 * count / sum(map(len, launches)):.2g} %" if count else "none"


def _rate_cell(row: Row) -> str:
    """What was answered per second, of what was asked."""
    if row.case.open_loop is None:
        return "-"
    rate = row.case.open_loop.rate
    seconds = sum(served.seconds for served in served_of(row))
    reached = sum(served.served for served in served_of(row)) / seconds if seconds else 0.0
    cell = f"{show_count(reached)} of {show_count(rate)}"
    return f"{cell}: queue grows" if overload(row) is not None else cell


def _missed_cell(row: Row) -> str:
    if row.case.open_loop is None:
        return "-"
    missed = sum(served.missed for served in served_of(row))
    return f"{100 * missed / sum(s.requests for s in served_of(row)):.3g} %" if missed else "none"


def served_of(row: Row) -> list[Served]:
    """How a row's open loops went."""
    return [m.served for m in row.measurements if m.served is not None]


def overload(row: Row) -> float | None:
    """How much more is asked than can be answered, as a factor over 1; None where it can be."""
    if row.case.open_loop is None:
        return None
    loads = [served.load(row.case.open_loop.rate) for served in served_of(row)]
    worst = max(loads, default=0.0)
    return worst if worst > 1 else None


def _percentile_cell(launches: Sequence[Sequence[int]], quantile: float) -> str:
    value = percentile(launches, quantile)
    if value is None:
        return f"needs {least_samples(quantile):,} samples"
    return show_ns(value)


def _memory_cell(row: Row) -> str:
    return show_bytes(
        max((m.memory for m in row.measurements if m.memory is not None), default=None)
    )


def show_bytes(count: int | None) -> str:
    """Memory in MiB."""
    return "unknown" if count is None else f"{count / MEBIBYTE:,.0f} MiB"


_CELLS: Mapping[str, Callable[[Row], str]] = {
    "p50": lambda row: show_ns(median(samples_of(row))),
    "95 % interval": _interval_cell,
    "per second": _throughput_cell,
    "rate": _rate_cell,
    "missed": _missed_cell,
    "outliers": _outliers_cell,
    "memory": _memory_cell,
}


def show_ns(nanoseconds: float) -> str:
    """A duration in the unit that keeps three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size * 0.9995:  # 999.5 us is shown as 1 ms
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"
