"""Tables: a column per swept axis, and no number that isn't earned."""

from __future__ import annotations

import pytest

from edgedl.bench.plan import Row
from edgedl.bench.report import Table, markdown, show_ns, tabulate
from edgedl.runtime.health import Cpu, Health
from edgedl.runtime.protocol import Case, Failure
from tests.bench.measurements import WRONG, health, measurement

FIXED = ("p50", "95 % interval", "p90", "p99", "per second", "outliers", "memory")


def row(case: Case, launches: int = 2, samples: int = 40, nanoseconds: int = 2000) -> Row:
    """A row of equal samples."""
    return Row(case, tuple(measurement(case, [nanoseconds] * samples) for _ in range(launches)))


def cell(table: Table, header: str, line: int = 0) -> str:
    """One cell by its header."""
    return table.rows[line][table.headers.index(header)]


def test_only_swept_axes_have_columns() -> None:
    one = Case("a/x.bundle", "fp32", sizes={"batch": 1, "time": 3}, threads=1)
    eight = Case("a/x.bundle", "fp32", sizes={"batch": 8, "time": 3}, threads=1)
    table = tabulate([row(one), row(eight)])
    assert table.headers == ("case", "batch", *FIXED)
    assert [cell(table, "batch", i) for i in (0, 1)] == ["1", "8"]


def test_every_swept_axis_has_a_column() -> None:
    cases = [
        Case("a/x.bundle", "fp32", "cpu", threads=1, sizes={"batch": 1}),
        Case("a/y.bundle", "fp32", "cuda", threads=None, sizes={"time": 2}),
    ]
    table = tabulate([row(case) for case in cases])
    assert table.headers == ("case", "bundle", "device", "batch", "time", "threads", *FIXED)
    assert table.rows[0][:6] == ("fp32", "x.bundle", "cpu", "1", "-", "1")
    assert table.rows[1][:6] == ("fp32", "y.bundle", "cuda", "-", "2", "all")


def test_cells_are_worked_out_from_the_samples() -> None:
    case = Case("x.bundle", "fp32", sizes={"batch": 8})
    table = tabulate([row(case)])
    assert cell(table, "p50") == "2 us"
    assert cell(table, "95 % interval") == "2 us - 2 us"
    assert cell(table, "p90") == "2 us"
    assert cell(table, "per second") == "4,000,000"
    assert cell(table, "outliers") == "none"
    assert cell(table, "memory") == "54 MiB"


def test_a_percentile_that_is_not_earned_says_what_it_needs() -> None:
    table = tabulate([row(Case("x.bundle", "fp32"), launches=3, samples=21)])
    assert cell(table, "p90") == "needs 64 samples"
    assert cell(table, "p99") == "needs 662 samples"


def test_one_launch_has_no_interval() -> None:
    table = tabulate([row(Case("x.bundle", "fp32"), launches=1)])
    assert cell(table, "95 % interval") == "one launch"


def test_unknown_memory_is_not_a_number() -> None:
    case = Case("x.bundle", "fp32")
    table = tabulate([Row(case, (measurement(case, peak_resident=None),))])
    assert cell(table, "memory") == "unknown"


def test_a_wrong_answer_has_no_timing() -> None:
    case = Case("x.bundle", "int8")
    wrong = Row(case, (measurement(case), measurement(case, parity=(WRONG,))))
    table = tabulate([row(Case("x.bundle", "fp32")), wrong])
    assert table.rows[1] == ("int8", "wrong answer", *[""] * 6)
    assert "int8 answers wrongly: y: max |a-b| 2 is over 1" in table.notes
    assert cell(table, "p50", 0) == "2 us"


def test_a_failed_case_has_no_timing_and_says_why() -> None:
    failed = Row(Case("x.bundle", "int8"), (), Failure("out of memory", "", 1))
    table = tabulate([failed, row(Case("x.bundle", "fp32"))])
    assert table.rows[0] == ("int8", "failed", *[""] * 6)
    assert "int8 failed: out of memory" in table.notes


def test_notes_say_how_much_was_measured_and_where() -> None:
    few, many = row(Case("x.bundle", "a"), samples=20), row(Case("x.bundle", "b"), samples=50)
    measured, machine = tabulate([few, many]).notes
    assert measured.startswith("2 launches of each case, interleaved; 40 to 100 samples")
    assert (
        machine == "Cortex-A72, 4 CPUs, Linux 6, Python 3.11.7, onnxruntime 1.20; health: unknown"
    )


def test_an_invalid_row_keeps_its_timings_and_says_why() -> None:
    good, bad = Case("x.bundle", "fp32"), Case("x.bundle", "int8")
    launches = (measurement(bad, health=health()), measurement(bad, health=health(bits=5)))
    table = tabulate([row(good), Row(bad, launches)])
    assert [cell(table, "invalid", i) for i in (0, 1)] == ["", "throttling"]
    assert cell(table, "p50", 1) == "1 us"
    assert "int8 is invalid: throttling: under-voltage, throttled (1 of 2 launches)" in table.notes
    assert "invalid" not in tabulate([row(good)]).headers


def test_the_notes_tell_the_governor_what_is_unknown_and_each_caution_once() -> None:
    watched = health(before=Health((Cpu(0, "ondemand"),)))
    launches = [Case("x.bundle", name) for name in "ab"]
    rows = [Row(case, (measurement(case, health=watched),) * 2) for case in launches]
    _, machine, *cautions = tabulate(rows).notes
    lacking = "frequency, temperature, throttling, steal, swap: unknown"
    assert machine.endswith(f"onnxruntime 1.20; governor ondemand; {lacking}")
    assert cautions == ["caution: governor ondemand: the clock follows the load"]


def test_launches_are_counted_where_none_failed() -> None:
    half = row(Case("x.bundle", "a"), launches=1)
    failed = Row(half.case, half.measurements, Failure("lost", "", 1))
    table = tabulate([failed, row(Case("x.bundle", "b"), launches=5)])
    assert any(note.startswith("5 launches of each case") for note in table.notes)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1 us"),
        (12_345, "12.3 us"),
        (1_500_000, "1.5 ms"),
        (2e9, "2 s"),
        (999_900, "1 ms"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_fits(nanoseconds: float, text: str) -> None:
    assert show_ns(nanoseconds) == text


def test_markdown_is_a_table_with_notes() -> None:
    assert markdown(Table(("case", "p50"), (("a", "1 us"),), ("a note",))).splitlines() == [
        "| case | p50 |",
        "| --- | --- |",
        "| a | 1 us |",
        "",
        "a note",
    ]
