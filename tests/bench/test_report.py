"""Tables: a column per swept axis, and no number that isn't earned."""

from __future__ import annotations

import pytest
from msgspec import structs

from edgedl.bench.cells import show_ns
from edgedl.bench.phases import tabulate_phases
from edgedl.bench.plan import Row
from edgedl.bench.report import tabulate
from edgedl.bench.table import Table, markdown, split_columns, width
from edgedl.runtime.health import Cpu, Health
from edgedl.runtime.protocol import Case, Failure, OpenLoop, Served
from tests.bench.measurements import HOST, WRONG, health, measurement

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
    assert tabulate([failed]).headers == ("case", *FIXED)
    table = tabulate([failed, row(Case("x.bundle", "fp32"))])
    assert table.rows[0] == ("int8", "failed", *[""] * 6)
    assert "int8 failed: out of memory" in table.notes


def test_notes_say_how_much_was_measured_and_where() -> None:
    few, many = row(Case("x.bundle", "a"), samples=20), row(Case("x.bundle", "b"), samples=50)
    measured, machine = tabulate([few, many]).notes
    assert measured == (
        "2 launches and 40 to 100 samples of each case; memory over an empty Python's 10 MiB"
    )
    assert (
        machine == "Cortex-A72, 4 CPUs, Linux 6, Python 3.11.7, onnxruntime 1.20; health: unknown"
    )


def test_rows_of_two_machines_are_not_said_to_be_of_one() -> None:
    other = structs.replace(HOST, processor="Cortex-A76")
    case = Case("x.bundle", "b")
    rows = [
        row(Case("x.bundle", "a")),
        Row(case, (structs.replace(measurement(case), host=other),)),
    ]
    _, first, second = tabulate(rows).notes
    assert first.startswith("a on Cortex-A72, 4 CPUs")
    assert second.startswith("b on Cortex-A76, 4 CPUs")


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
    assert any(note.startswith("5 launches and ") for note in table.notes)


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


def test_far_percentiles_have_columns_where_every_case_has_the_samples() -> None:
    many = row(Case("x.bundle", "a"), launches=2, samples=3400)
    assert [h for h in tabulate([many]).headers if h[1:3].isdigit()] == [
        "p50", "p90", "p95", "p99", "p99.9",
    ]  # fmt: skip
    few = row(Case("x.bundle", "b"), samples=40)
    assert "p99.9" not in tabulate([many, few]).headers


def test_a_table_stays_as_narrow_as_a_terminal() -> None:
    long = [row(Case("x.bundle", f"{'long' * 20} {i}"), 2, 3400) for i in range(2)]
    assert "p99.9" not in tabulate(long).headers


def test_settings_and_modes_have_columns_only_where_swept() -> None:
    cases = [
        Case("x.bundle", "a", spinning=spinning, arena=arena, mode=mode)
        for spinning, arena, mode in ((True, None, "model"), (False, True, "run"))
    ]
    table = tabulate([row(case) for case in cases])
    assert table.headers == ("case", "mode", "spinning", "arena", *FIXED)
    assert table.rows[0][1:4] == ("model", "on", "default")
    assert table.rows[1][1:4] == ("run", "off", "on")


def test_outliers_are_counted_by_the_far_fences_and_kept() -> None:
    case = Case("x.bundle", "a")
    samples = [100, 101, 102, 103] * 12 + [1000, 1]
    table = tabulate([Row(case, (measurement(case, samples), measurement(case, samples)))])
    assert cell(table, "outliers") == "4 %"
    assert cell(table, "p90") == "103 ns"


def paced(rate: float, served: Served) -> Row:
    """A row of one open loop."""
    case = Case("x.bundle", "a", open_loop=OpenLoop(rate))
    return Row(case, (measurement(case, served=served),))


def test_an_open_loop_shows_what_was_reached_of_the_rate_and_what_was_missed() -> None:
    table = tabulate([paced(100, Served(200, 5, 0, seconds=2.0, busy_s=0.4))])
    assert cell(table, "rate") == "100 of 100"
    assert cell(table, "missed") == "2.5 %"
    assert "per second" not in table.headers
    assert not any("keep up" in note for note in table.notes)


def test_a_rate_that_is_too_high_is_said_in_the_row_and_below() -> None:
    table = tabulate([paced(400, Served(200, 200, 100, seconds=0.5, busy_s=0.5))])
    assert cell(table, "rate") == "200 of 400: queue grows"
    assert cell(table, "missed") == "100 %"
    (note,) = [note for note in table.notes if "keep up" in note]
    assert "5 ms, 2 times the distance between two" in note


def test_phases_have_a_table_of_their_own() -> None:
    table = tabulate_phases([row(Case("x.bundle", "fp32"))])
    assert table.headers == (
        "case", "import", "cold load", "warm load", "first run", "steady", "empty", "peak",
    )  # fmt: skip
    assert table.rows[0][1:] == ("3 ms", "5 ms", "4 ms", "40 us", "2 us", "10 MiB", "64 MiB")


def test_a_load_that_may_not_be_cold_says_so() -> None:
    case = Case("x.bundle", "fp32")
    table = tabulate_phases([Row(case, (measurement(case, still_cached="fp32.onnx stays"),))])
    assert cell(table, "cold load") == "5 ms*"
    assert "* may not be cold: fp32.onnx stays" in table.notes


def test_a_subjects_import_is_in_its_load() -> None:
    case = Case("x.bundle", "fp32", subject="a.py:b")
    table = tabulate_phases([Row(case, (measurement(case, warm_load_ns=None),))])
    assert cell(table, "import") == "in the load"
    assert cell(table, "warm load") == "-"


def test_a_failed_case_has_no_phases() -> None:
    failed = Row(Case("x.bundle", "int8"), (), Failure("out of memory", "", 1))
    assert tabulate_phases([failed]).rows == (("int8", "failed", *[""] * 6),)


def test_a_table_too_wide_for_a_terminal_is_split_and_no_cell_is_cut() -> None:
    rows = [row(Case("x.bundle", "int8-dynamic", threads=n)) for n in (1, 2)]
    whole = tabulate(rows)
    assert split_columns(whole, width(whole)) == [whole]
    parts = split_columns(whole, 40)
    assert all(width(part) <= 40 for part in parts)
    assert all(part.headers[:2] == ("case", "threads") for part in parts)
    shown = [header for part in parts for header in part.headers[2:]]
    assert tuple(shown) == whole.headers[2:]
    assert [len(split_columns(whole, columns)) for columns in (1, 0)] == [len(shown)] * 2
