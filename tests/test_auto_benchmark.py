"""The benchmark of `--recipe auto` fails where a fixed recipe is faster."""

from __future__ import annotations

from pathlib import Path

from benchmarks.auto import AGAIN, WINNER, Line, Result, Results, report, table
from benchmarks.kept import keep
from edgedl.runtime.manifest import Candidate, Search
from tests.bench.measurements import HOST


def result(fixed: float) -> Result:
    """A winner of 20 us beside a fixed recipe, in five rounds of other weather."""
    weather = (1.0, 1.3, 0.9, 1.1, 1.5)
    lines = [
        Line(
            name,
            100,
            "99.00% accuracy",
            tuple(round(1000 * us * w) + i for i, w in enumerate(weather)),
        )
        for name, us in ((WINNER, 20), (AGAIN, 20.2), ("int8-dynamic", fixed))
    ]
    won = Candidate("int8-static", "winner", "the fastest", 100, medians_ns=(1, 2))
    search = Search("cpu", HOST, 0.5, "int8-static", (1, 2), (won,), 1.0)
    return Result("digits", "int8-static", tuple(lines), search)


def test_a_faster_fixed_recipe_is_named() -> None:
    assert result(19).faster == ["int8-dynamic"]
    assert "faster than the search's winner: int8-dynamic" in table(result(19)).notes


def test_slower_ones_and_those_within_the_noise_are_not() -> None:
    assert result(19.9).faster == result(30).faster == []


def test_the_results_are_kept_with_the_machine(tmp_path: Path) -> None:
    results = Results(HOST, (result(30),))
    file = keep(results, HOST, "auto", report(results), tmp_path)
    assert file.name == "auto-aarch64-cortex-a72-4.json"
    told = file.with_suffix(".md").read_text()
    assert "Cortex-A72, 4 CPUs" in told
    assert "| int8-dynamic | 100 | 99.00% accuracy | 33 us | 0.67 (0.67 - 0.67) |" in told
