"""bench A vs B, bench --compare and the gate: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedl.bench.plan import Row, encode_rows
from edgedl.runtime.protocol import Case, Failure
from tests.bench.measurements import health, measurement
from tests.cli.conftest import Edgedl, assert_one_error

QUICK = ("--launches", 2, "--seconds", 0.01, "--threads", 1)
WORDS = ("faster", "slower", "inconclusive", "invalid")


def run_file(path: Path, scale: float, *variants: str) -> Path:
    """A file as --json writes it: five launches of each variant, a percent apart."""
    rows = []
    for variant in variants or ("fp32",):
        case = Case("x.bundle", variant)
        centres = [round(1e6 * scale * (1 + i / 100)) for i in range(5)]
        rows.append(Row(case, tuple(measurement(case, [c] * 20) for c in centres)))
    path.write_bytes(encode_rows(rows))
    return path


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return run_file(tmp_path / "before.jsonl", 1.0)


# --- vs


def test_a_bundle_against_itself_ends_well(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "ab.jsonl"
    arguments = (f"{classifier_bundle}:fp32", "vs", f"{classifier_bundle}:fp32")
    result = edgedl("bench", *arguments, "--json", file, *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    last = result.stdout.splitlines()[-1]
    assert last.startswith("shapes fp32: B ")
    assert any(word in last for word in WORDS)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["side"]["role"] for row in rows] == ["a", "again", "b"]
    again = edgedl("bench", "--compare", file)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == last


def test_verdicts_are_json_lines(edgedl: Edgedl, classifier_bundle: Path) -> None:
    arguments = (f"{classifier_bundle}:fp32", "vs", f"{classifier_bundle}:rounded")
    result = edgedl("bench", *arguments, "--json", "-", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (line["a"], line["b"], line["launches"]) == ("fp32", "rounded", [2, 2])
    assert line["verdict"] in WORDS


@pytest.mark.parametrize(
    "bundles", [("vs", "b"), ("a", "vs"), ("a", "vs", "b", "vs", "c"), ("a", "vs", "b", "c")]
)
def test_sides_that_do_not_fit_are_wrong_usage(edgedl: Edgedl, bundles: tuple[str, ...]) -> None:
    result = edgedl("bench", *bundles)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "vs" in result.stderr


def test_files_are_no_sides(edgedl: Edgedl, before: Path) -> None:
    result = edgedl("bench", before, "vs", before)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--compare A.json B.json" in " ".join(result.stderr.split())


def test_one_launch_is_no_comparison(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, "vs", classifier_bundle, "--launches", 1)
    assert result.exit_code == 2
    assert "--launches" in result.stderr


def test_a_variant_that_is_not_there_is_one_line(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", f"{classifier_bundle}:int4", "vs", classifier_bundle, *QUICK)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "int4")


# --- files


@pytest.mark.parametrize(
    ("scale", "word", "gate", "code"),
    [
        (0.5, "faster", (), 0),
        (1.5, "slower", (), 0),
        (1.001, "inconclusive", (), 0),
        (0.5, "faster", ("--fail-above", "5%"), 0),
        (1.5, "slower", ("--fail-above", "5%"), 3),
        (1.5, "slower", ("--fail-above", "80"), 0),
        (1.001, "inconclusive", ("--fail-above", "5%"), 0),
        (1.001, "inconclusive", ("--fail-above", "0.5%", "--strict"), 3),
    ],
)
def test_two_files_are_compared(
    edgedl: Edgedl, before: Path, tmp_path: Path, scale: float, word: str, gate: tuple[str, ...],
    code: int,
) -> None:  # fmt: skip
    after = run_file(tmp_path / "after.jsonl", scale)
    result = edgedl("bench", "--compare", before, after, *gate)
    assert result.exit_code == code
    last = result.stdout.splitlines()[-1]
    assert last.startswith("x fp32: B takes ")
    assert f"of A's time: {word}" in last
    if code == 3:
        assert_one_error(result.stderr, "x fp32: B takes")
    else:
        assert result.stderr == ""


def test_a_case_that_failed_ends_it_and_the_file_is_named(
    edgedl: Edgedl, before: Path, tmp_path: Path
) -> None:
    after = tmp_path / "after.jsonl"
    failed = Row(Case("x.bundle", "fp32"), (), Failure("out of memory", "a smaller batch", 1))
    after.write_bytes(encode_rows([failed]))
    result = edgedl("bench", "--compare", before, after, "--fail-above", "5%")
    assert result.exit_code == 1
    assert "invalid, B: out of memory" in result.stdout
    assert_one_error(result.stderr, "after.jsonl: fp32: out of memory", hint="a smaller batch")


def test_a_machine_that_throttled_is_no_pass(edgedl: Edgedl, before: Path, tmp_path: Path) -> None:
    after = tmp_path / "after.jsonl"
    case = Case("x.bundle", "fp32")
    hot = measurement(case, health=health(bits=0x4))
    after.write_bytes(encode_rows([Row(case, (hot, hot))]))
    result = edgedl("bench", "--compare", before, after, "--fail-above", "5%")
    assert result.exit_code == 1
    assert_one_error(result.stderr, "nothing was compared")
    assert "throttling" in result.stderr


def test_what_one_file_lacks_is_told_as_json_too(
    edgedl: Edgedl, before: Path, tmp_path: Path
) -> None:
    after = run_file(tmp_path / "after.jsonl", 0.5, "fp32", "int8")
    shown = edgedl("bench", "--compare", before, after)
    assert "only in B, not compared: x int8" in shown.stdout
    kept = tmp_path / "verdicts.jsonl"
    assert edgedl("bench", "--compare", before, after, "--json", kept).exit_code == 0
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["faster", "invalid"]
    assert lines[1]["reason"] == "only in B"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no rows"),
        (b"\n\n", "there are no rows"),
        (b"p50 is fast", "line 1"),
        (b"\xff\xfe\x00", "line 1"),
        (b"[1, 2]", "line 1"),
        (b"{}", "line 1"),
        (b'{"schema_version": 99}', "newer"),
        (b'{"case": "x", "verdict": "faster", "schema_version": 2}', "line 1"),
    ],
)
def test_a_file_of_something_else_is_one_line(
    edgedl: Edgedl, before: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    after = tmp_path / "after.jsonl"
    after.write_bytes(content)
    for files in ((before, after), (after, before), (after,)):
        result = edgedl("bench", "--compare", *files)
        assert (result.exit_code, result.stdout) == (1, "")
        assert_one_error(result.stderr, message, hint="")
        assert "after.jsonl" in result.stderr


def test_a_file_that_was_cut_off_is_one_line(edgedl: Edgedl, before: Path) -> None:
    content = before.read_bytes()
    before.write_bytes(content + content[: len(content) // 2])
    result = edgedl("bench", "--compare", before, before)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "line 2", hint="")


def test_launches_without_times_are_one_line(edgedl: Edgedl, before: Path, tmp_path: Path) -> None:
    case = Case("x.bundle", "fp32")
    after = tmp_path / "after.jsonl"
    for samples in ((), (0,) * 20):
        after.write_bytes(encode_rows([Row(case, (measurement(case, samples),) * 2)]))
        result = edgedl("bench", "--compare", before, after)
        assert result.exit_code == 1
        assert_one_error(result.stderr, "after.jsonl: fp32 has a launch without times")


def test_a_file_that_is_not_there_or_a_bundle_is_one_line(
    edgedl: Edgedl, before: Path, classifier_bundle: Path
) -> None:
    result = edgedl("bench", "--compare", before, before.parent / "gone.jsonl")
    assert result.exit_code == 1
    assert_one_error(result.stderr, "gone.jsonl")
    result = edgedl("bench", "--compare", classifier_bundle, classifier_bundle)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "is a directory", hint="vs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x.bundle", "--fail-above", "5%"), "--fail-above needs a comparison"),
        (("x.bundle", "--strict"), "--strict needs"),
        (("a", "vs", "b", "--strict"), "--strict needs --fail-above"),
        (("a", "vs", "b", "--fail-above", "much"), "not a percentage"),
        (("a", "vs", "b", "--fail-above", "-5%"), "not a percentage"),
        (("a", "vs", "b", "--fail-above", "nan"), "not a percentage"),
        (("--compare", "a", "b", "--batch", "8"), "--batch does nothing with --compare"),
        (("--compare", "a", "b", "c", "d"), "--compare takes"),
    ],
)
def test_options_that_mean_nothing_are_wrong_usage(
    edgedl: Edgedl, arguments: tuple[str, ...], said: str
) -> None:
    result = edgedl("bench", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
