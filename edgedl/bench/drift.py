"""How a sustained run changed with time: its beginning against its end, and the curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgedl.bench.cells import show_ns
from edgedl.bench.plan import Row
from edgedl.bench.report import is_timed, line_of, swept_columns
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.table import Table
from edgedl.runtime.protocol import Window

# Windows that follow each other are alike, so that only longer parts of a third count as
# independent. Simulated with windows of which each takes over 0, 0.5, 0.8 or 0.95 of the one
# before it, a drift that isn't there is shown in 5, 6, 12 or 32 % of runs of one minute, and in
# 6, 4, 4 or 8 % of runs of ten.
STRETCH = 3
PARTS = 4
LEAST_WINDOWS = 60
CURVE = 30
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*#@"
# A curve that moves by less than this is drawn flat: its noise would look like drift.
FLAT = 1.1


def drift(windows: Sequence[Window]) -> Ratio | None:
    """The last third's median time as a ratio of the first's, with its 95 % interval.

    Each third is cut into four parts; of the windows' medians in a part the middle one counts
    (batch means: A. M. Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3).

    Returns:
        None from fewer windows than `LEAST_WINDOWS`.
    """
    if len(windows) < LEAST_WINDOWS:
        return None
    medians = [window.p50_ns for window in windows]
    length = len(windows) // STRETCH
    return paired_ratio(_parts(medians[-length:]), _parts(medians[:length]))


def _parts(medians: Sequence[int]) -> list[float]:
    return [float(np.median(part)) for part in np.array_split(np.array(medians), PARTS)]


def tabulate_course(rows: Sequence[Row], blocks: str = BLOCKS) -> Table:
    """One line per sustained case: how its runs began and ended, and the curve of the first.

    Args:
        rows: Of a run; those of other cases are left out.
        blocks: What the curve is drawn with, from low to high.
    """
    rows = [r for r in rows if _windows(r) or (r.case.sustained_s and not is_timed(r))]
    columns = swept_columns(rows)
    headers = [*_CELLS]
    if not any(w.khz for row in rows for w in _windows(row)):
        headers.remove("clock")
    if not any(w.celsius for row in rows for w in _windows(row)):
        headers.remove("temperature")
    lines = tuple(
        (
            row.case.name,
            *(cells[i] for cells in columns.values()),
            *line_of(row, headers, lambda row, header: _CELLS[header](row, blocks)),
        )
        for i, row in enumerate(rows)
    )
    prose = ("p50 by time", "drift")
    names = ("case", *columns, *headers)
    return Table(names, lines, tuple(_notes(rows)), prose, keys=1 + len(columns))


def _windows(row: Row) -> tuple[Window, ...]:
    """The windows of a row's first launch."""
    first = next(iter(row.measurements), None)
    return first.sustained.windows if first and first.sustained else ()


def _drift_cell(row: Row, blocks: str) -> str:
    """The first launch's drift in words."""
    ratio = drift(_windows(row))
    if ratio is None:
        return f"needs {LEAST_WINDOWS} s"
    word = {"inconclusive": "none shown"}.get(ratio.verdict, ratio.verdict)
    return f"{word}: {ratio.value:.3f} ({ratio.low:.3f} - {ratio.high:.3f})"


def _ends(row: Row) -> tuple[Sequence[Window], Sequence[Window]]:
    windows = _windows(row)
    length = max(1, len(windows) // STRETCH)
    return windows[:length], windows[-length:]


def _median_ns(windows: Sequence[Window]) -> str:
    return show_ns(float(np.median([window.p50_ns for window in windows])))


def _clock_cell(row: Row, blocks: str) -> str:
    known = [window.khz for window in _windows(row) if window.khz]
    return f"{known[0] / 1e6:.3g} to {known[-1] / 1e6:.3g} GHz" if known else "unknown"


def _temperature_cell(row: Row, blocks: str) -> str:
    known = [window.celsius for window in _windows(row) if window.celsius]
    return f"{known[0]:.0f} to {known[-1]:.0f} C" if known else "unknown"


def _curve_cell(row: Row, blocks: str) -> str:
    return curve([window.p50_ns for window in _windows(row)], blocks)


def curve(values: Sequence[float], blocks: str = BLOCKS, columns: int = CURVE) -> str:
    """Values as a line of blocks, from the lowest to the highest."""
    parts = np.array_split(np.array(values, float), min(columns, len(values)))
    heights = np.array([float(np.median(part)) for part in parts])
    low = heights.min()
    high = max(heights.max(), low * FLAT)
    return "".join(
        blocks[round(float((h - low) / (high - low)) * (len(blocks) - 1))] for h in heights
    )


_CELLS: Mapping[str, Callable[[Row, str], str]] = {
    "begins": lambda row, blocks: _median_ns(_ends(row)[0]),
    "ends": lambda row, blocks: _median_ns(_ends(row)[1]),
    "drift": _drift_cell,
    "clock": _clock_cell,
    "temperature": _temperature_cell,
    "p50 by time": _curve_cell,
}


def _notes(rows: Sequence[Row]) -> list[str]:
    windows = [window for row in rows for window in _windows(row)]
    if not windows:
        return []
    several = any(len(row.measurements) > 1 for row in rows)
    return [
        "drift: the last third of the seconds against the first; the curve spans "
        f"{100 * (FLAT - 1):.0f} % at least{'; both of the first launch' * several}"
    ]
