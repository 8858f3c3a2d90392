"""edgedl bench: modes, rates, sustained runs, swept settings, and a result that isn't lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgedl.bench.plan import decode_rows
from edgedl.cli import bench, result_file
from tests.cli.conftest import Edgedl, Python, assert_one_error, left_in
from tests.graphs import change_manifest, write_classifier_bundle

QUICK = ("--variant", "fp32", "--launches", 1, "--seconds", 0.01, "--threads", 1)


def rows_of(result: Any) -> list[Any]:
    """The JSON lines it printed."""
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_modes_and_settings_are_swept(edgedl: Edgedl, text_bundle: Path) -> None:
    options = ("--mode", "model,run,app", "--spinning", "on,off", "--arena", "off")
    rows = rows_of(edgedl("bench", text_bundle, *QUICK, *options, "--json", "-"))
    cases = [row["case"] for row in rows]
    assert [(c["mode"], c["spinning"], c["arena"]) for c in cases] == [
        (mode, spinning, False) for mode in ("model", "run", "app") for spinning in (True, False)
    ]
    for row in rows:
        settings = row["measurements"][0]["settings"]
        assert settings["spinning"] is row["case"]["spinning"]
        assert settings["arena"] is False
        assert all(output["passed"] for output in row["measurements"][0]["parity"])


def test_a_swept_setting_is_a_column(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, *QUICK, "--mode", "model,run", "--threads", "auto")
    header, *lines = result.stdout.splitlines()
    assert "mode" in header.split()
    words = [set(line.split()) for line in lines if line.startswith("fp32")]
    assert any("model" in line for line in words)
    assert any("run" in line for line in words)


def test_phases_are_a_second_table(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, *QUICK, "--phases")
    assert result.exit_code == 0
    _, second = result.stdout.split("\n\n")
    assert second.splitlines()[0].split("  ")[0] == "case"
    assert {"import", "cold load", "warm load", "first run"} <= {
        word.strip() for word in second.splitlines()[0].split("  ")
    }


def test_a_rate_is_offered_and_kept_in_the_json(edgedl: Edgedl, classifier_bundle: Path) -> None:
    options = ("--rate", 200, "--arrivals", "poisson", "--deadline", 1000, "--seed", 7)
    (row,) = rows_of(edgedl("bench", classifier_bundle, *QUICK, *options, "--json", "-"))
    assert row["case"]["open_loop"] == {
        "rate": 200.0, "arrivals": "poisson", "deadline_s": 1.0, "seed": 7,
    }  # fmt: skip
    served = row["measurements"][0]["served"]
    assert served["requests"] == len(row["measurements"][0]["samples_ns"]) == 20


def test_a_sustained_run_says_how_long_and_draws_its_course(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    options = ("--variant", "fp32", "--threads", 1, "--sustained", "1s", "--json", file)
    result = edgedl("bench", classifier_bundle, *options)
    assert result.exit_code == 0
    assert result.stderr == "1 sustained launch: 1 s and more\n"
    _, course = result.stdout.split("\n\n")
    assert "p50 by time" in course.splitlines()[0]
    (row,) = decode_rows(file.read_bytes())
    (measurement,) = row.measurements
    assert measurement.sustained is not None
    assert measurement.sustained.runs == sum(w.runs for w in measurement.sustained.windows)


def test_a_curve_is_drawn_in_the_terminals_own_characters(
    python: Python, classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    options = ("--variant", "fp32", "--threads", "1", "--sustained", "1s")
    done = python("-m", "edgedl", "bench", classifier_bundle, *options)
    assert done.returncode == 0, done.stderr
    assert "p50 by time" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mode", "fast"), "one or several of model, run, app"),
        (("--rate", "0"), "not a number over 0"),
        (("--rate", "nan"), "not a number over 0"),
        (("--rate", "1e9"), "100,000 times a second at most"),
        (("--seconds", "inf"), "not a number over 0"),
        (("--arrivals", "poisson"), "--arrivals needs --rate"),
        (("--deadline", "5"), "--deadline needs --rate"),
        (("--sustained", "10"), "such as 90s, 10m or 1h"),
        (("--sustained", "0s"), "from a second to a week"),
        (("--sustained", "9s", "--seconds", "2"), "give one"),
        (("--spinning", "maybe"), "on, off or on,off"),
        (("--threads", "some"), "whole numbers"),
        (("--arena", ""), "on, off or on,off"),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, options: tuple[str, ...], said: str
) -> None:
    result = edgedl("bench", classifier_bundle, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())


def test_an_app_around_a_model_without_a_task_is_one_error(edgedl: Edgedl, tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "plain.bundle")
    change_manifest(path, task=None)
    result = edgedl("bench", path, *QUICK, "--mode", "app")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "nothing before and after", hint="--mode model")


# --- the file of results


@pytest.fixture
def nothing_may_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting to measure fails the test."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("it was measured first")

    monkeypatch.setattr(bench, "measure_kept", refuse)


@pytest.mark.usefixtures("nothing_may_be_measured")
@pytest.mark.parametrize("file", ["nowhere/rows.jsonl", "file/rows.jsonl"])
def test_a_file_that_can_not_be_written_is_found_before_measuring(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path, file: str
) -> None:
    (tmp_path / "file").write_text("no directory")
    result = edgedl("bench", classifier_bundle, *QUICK, "--json", tmp_path / file)
    assert result.exit_code == 1
    assert_one_error(result.stderr, file)


@pytest.mark.usefixtures("nothing_may_be_measured")
def test_a_full_disk_is_found_before_measuring(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_file, "LEAST_FREE", 1 << 62)  # as if the disk were full
    result = edgedl("bench", classifier_bundle, *QUICK, "--json", tmp_path / "rows.jsonl")
    assert result.exit_code == 1
    assert_one_error(result.stderr, "No space left", hint="free a MiB")
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_disk_that_fills_meanwhile_loses_nothing(
    edgedl: Edgedl, classifier_bundle: Path, temporary: Path
) -> None:
    result = edgedl("bench", classifier_bundle, *QUICK, "--json", "/dev/full")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].startswith("fp32 ")
    (kept,) = left_in(temporary)
    assert_one_error(result.stderr, "/dev/full can't be written: No space left", hint=kept)
    assert decode_rows((temporary / kept).read_bytes())[0].case.variant == "fp32"


def test_what_an_earlier_run_wrote_stays_until_there_is_more(
    edgedl: Edgedl, unmeasurable_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("kept")
    result = edgedl("bench", unmeasurable_bundle, *QUICK, "--json", file)
    assert result.exit_code == 1
    assert file.read_text() == "kept"


@pytest.fixture
def unmeasurable_bundle(tmp_path: Path) -> Path:
    """A bundle that can't be measured at all."""
    path = write_classifier_bundle(tmp_path / "broken.bundle")
    (path / "golden.npz").unlink()
    return path


# --- what would be measured otherwise than asked for


@pytest.mark.usefixtures("nothing_may_be_measured")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seconds", "1e300"), "a week"),
        (("--seconds", "nan"), "over 0"),
        (("--seed", "-1"), "--seed"),
        (("--threads", "5000"), "1,024 threads at most"),
        (("--rate", "1e-300"), "per second at least"),
        (("--deadline", "nan", "--rate", "1"), "over 0"),
        (("--size", "batch=2"), "--batch"),
        (("--size", "time=2", "--size", "time=3"), "given twice"),
        (("--json", "a.html", "--html", "./a.html"), "a file of their own"),
        (("--html", "-"), "written to a file"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, options: tuple[str, ...], said: str
) -> None:
    result = edgedl("bench", classifier_bundle, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())


@pytest.mark.usefixtures("nothing_may_be_measured")
@pytest.mark.parametrize("against", [(), ("vs", "rounded")])
def test_a_variant_beside_bundles_that_name_theirs_is_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, against: tuple[str, ...]
) -> None:
    bundles = [word if word == "vs" else f"{classifier_bundle}:{word}"
               for word in ("fp32", *against)]  # fmt: skip
    result = edgedl("bench", *bundles, "--variant", "rounded")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--variant does nothing" in result.stderr


@pytest.mark.usefixtures("nothing_may_be_measured")
def test_the_whole_task_of_a_batch_is_refused_before_measuring(
    edgedl: Edgedl, classifier_bundle: Path
) -> None:
    result = edgedl("bench", classifier_bundle, "--mode", "model,app", "--batch", "1,2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "one sample at a time", hint="--batch")


def test_what_is_asked_for_twice_is_measured_once(edgedl: Edgedl, classifier_bundle: Path) -> None:
    twice = (f"{classifier_bundle}:fp32", classifier_bundle, f"{classifier_bundle}/")
    result = edgedl("bench", *twice, "--launches", 1, "--seconds", 0.01, "--json", "-")
    variants = [json.loads(line)["case"]["variant"] for line in result.stdout.splitlines()]
    assert variants == ["fp32", "rounded"]


def test_too_large_a_batch_is_out_of_memory(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", f"{classifier_bundle}:fp32", "--launches", 1, "--batch", 10**13)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "fp32: out of memory", hint="a smaller batch")
