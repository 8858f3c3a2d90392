"""bench --html, --markdown and --from: pages, from a run or from files, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgedl.bench.page.record import record_of
from edgedl.bench.plan import decode_rows
from tests.cli.conftest import ROOT, Edgedl, assert_one_error

QUICK = ("--launches", 2, "--seconds", 0.01, "--threads", 1)


@pytest.fixture
def page(edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path) -> Path:
    """A page of both variants, the rows beside it."""
    file = tmp_path / "page.html"
    written = ("--html", file, "--json", tmp_path / "rows.jsonl")
    assert edgedl("bench", classifier_bundle, *QUICK, *written).exit_code == 0
    return file


def test_a_page_holds_the_rows_that_json_has_and_says_when(page: Path) -> None:
    content, _ = record_of(page.read_bytes(), "page.html")
    rows = decode_rows(content)
    assert rows == decode_rows(page.with_name("rows.jsonl").read_bytes())
    day, _, time = rows[0].ended.partition("T")
    assert f"Measured {day} {time.removesuffix('+00:00')} UTC" in page.read_text()


def test_a_page_is_written_again_from_rows_and_from_a_page(
    edgedl: Edgedl, page: Path, tmp_path: Path
) -> None:
    for name in ("rows.jsonl", "page.html"):
        again = tmp_path / f"again-{name}.html"
        result = edgedl("bench", "--from", tmp_path / name, "--html", again)
        assert result.exit_code == 0
        assert result.stdout.split()[:2] == ["case", "p50"]
        assert record_of(again.read_bytes(), "") == record_of(page.read_bytes(), "")
        assert f"read from {name}" in again.read_text()


def test_pages_compare_as_their_rows_do(edgedl: Edgedl, page: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.html"
    rows = page.with_name("rows.jsonl")
    result = edgedl("bench", "--compare", page, rows, "--html", both)
    assert result.exit_code == 0
    assert result.stdout == edgedl("bench", "--compare", rows, rows).stdout
    assert "A against B" in both.read_text()
    assert "B: fp32" in both.read_text()
    assert_one_error(edgedl("bench", "--from", both).stderr, "holds two runs")


def test_a_versus_run_has_a_page(edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "ab.html"
    sides = (f"{classifier_bundle}:fp32", "vs", f"{classifier_bundle}:rounded")
    assert edgedl("bench", *sides, *QUICK, "--html", file).exit_code == 0
    assert "of fp32&#x27;s time" in file.read_text()
    result = edgedl("bench", "--from", file)
    assert "of fp32's time" in result.stdout


def test_a_profile_s_page_has_timings_too(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    file, lines = tmp_path / "p.html", tmp_path / "p.jsonl"
    options = ("--variant", "fp32", *QUICK, "--profile", "--html", file, "--json", lines)
    assert edgedl("bench", classifier_bundle, *options).exit_code == 0
    html = file.read_text()
    for said in ("Time by operator", "untraced run", "Latency distributions"):
        assert said in html
    again = edgedl("bench", "--from", lines, "--html", tmp_path / "again.html")
    assert "untraced run" in again.stdout
    assert record_of((tmp_path / "again.html").read_bytes(), "") == record_of(html.encode(), "")


def test_markdown_holds_the_tables(edgedl: Edgedl, page: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    assert edgedl("bench", "--from", page, "--markdown", file).exit_code == 0
    text = file.read_text()
    assert "| case | p50 | 95 % interval |" in text
    assert "\n## Parity\n" in text
    assert "max \\|a-b\\|" in text


def test_only_a_page_is_overwritten(
    edgedl: Edgedl, page: Path, classifier_bundle: Path, tmp_path: Path
) -> None:
    assert edgedl("bench", "--from", page, "--html", page).exit_code == 0
    kept = {path: path.read_bytes() for path in classifier_bundle.iterdir()}
    for option in ("--html", "--markdown"):
        manifest = classifier_bundle / "manifest.json"
        result = edgedl("bench", classifier_bundle, *QUICK, option, manifest)
        assert_one_error(result.stderr, "edgedl bench didn't write it")
    assert {path: path.read_bytes() for path in classifier_bundle.iterdir()} == kept
    assert not list(tmp_path.glob(".*"))


def test_a_page_that_can_t_be_written_is_found_before_measuring(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    result = edgedl("bench", classifier_bundle, *QUICK, "--html", tmp_path / "no" / "page.html")
    assert_one_error(result.stderr, "No such file or directory")
    assert result.stdout == ""


def test_other_html_is_no_page(edgedl: Edgedl, tmp_path: Path) -> None:
    file = tmp_path / "other.html"
    file.write_text("<!doctype html><p>hello")
    assert_one_error(edgedl("bench", "--from", file).stderr, "is no page of edgedl bench")
    file.write_bytes(b"\xff\xfe")
    assert_one_error(edgedl("bench", "--from", file).stderr, "is no row of edgedl bench")


@pytest.mark.parametrize("option", [("--batch", 2), ("--compare",), ("--profile",)])
def test_from_measures_nothing(edgedl: Edgedl, page: Path, option: tuple[object, ...]) -> None:
    result = edgedl("bench", "--from", page, *option)
    assert result.exit_code == 2
    assert "does nothing with --" in result.stderr


@pytest.mark.parametrize("more", [(), ("--profile",)])
def test_nothing_is_lost_when_the_reader_of_the_table_leaves(
    classifier_bundle: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    file = tmp_path / "page.html"
    options = [str(option) for option in (*QUICK, *more, "--variant", "fp32", "--html", file)]
    command = [sys.executable, "-m", "edgedl", "bench", str(classifier_bundle), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)
    assert "Latency distributions" in file.read_text()
