"""The benchmark of intervals tells one that holds the truth from one that is too narrow."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.intervals import CHUNK, LAUNCHES, METHODS, RESULTS, SPREADS, Cell, examine, table


def test_a_bootstrap_over_few_launches_is_too_narrow_and_students_t_is_not() -> None:
    cells = {cell.method: cell for cell in examine(SPREADS[0], 5, 3 * CHUNK, seed=1)}
    assert set(cells) == set(METHODS)
    assert 0.92 <= cells["Student's t"].coverage <= 0.98
    for name in ("percentile bootstrap", "BCa bootstrap", "hierarchical bootstrap"):
        assert cells[name].coverage < 0.91, name


def test_a_bootstrap_t_of_three_launches_has_no_width() -> None:
    cells = examine(SPREADS[0], 3, CHUNK, seed=1)
    assert [cell.width for cell in cells if cell.method == "bootstrap-t"] == [None]
    assert any("unbounded" in row[1] for row in table(cells, SPREADS[0].name).rows)


class Kept(msgspec.Struct):
    trials: int
    cells: list[Cell]


def test_what_is_kept_is_of_every_method_and_spread() -> None:
    kept = msgspec.json.decode((Path(RESULTS) / "intervals.json").read_bytes(), type=Kept)
    found = {(cell.spread, cell.launches, cell.method) for cell in kept.cells}
    assert found == {(s.name, n, m) for s in SPREADS for n in LAUNCHES for m in METHODS}
