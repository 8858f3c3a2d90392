"""edgedl bench --tune: measured for real, stored, and used by load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedl import runtime
from edgedl.cli import bench_tune, result_file
from edgedl.runtime.tuned import all_tuned
from tests.cli.conftest import Edgedl, assert_one_error
from tests.graphs import replace_variant, write_classifier_bundle

QUICK = ("--tune", "--launches", 1, "--seconds", 0.01)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of its own."""
    return write_classifier_bundle(tmp_path / "a.bundle")


def test_what_is_found_is_said_stored_and_used(edgedl: Edgedl, bundle: Path) -> None:
    result = edgedl("bench", bundle, *QUICK, "--variant", "rounded", "--threads", 2,
                    "--spinning", "on", "--arena", "off")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (found,) = all_tuned(bundle)
    assert found.variant in ("fp32", "rounded")  # the untuned default may be as fast
    assert f"a.bundle on cpu: {found.variant} with {found.settings} takes" in result.stdout
    assert "a.bundle.tuned.json" in result.stderr
    model = runtime.load(bundle)
    assert (model.variant.name, model.settings) == (found.variant, found.settings)
    told = edgedl("inspect", bundle).stdout
    assert f"tuned for cpu: {found.variant}, {found.settings}" in told


def test_a_variant_that_fails_is_an_error_and_the_best_other_is_stored(
    edgedl: Edgedl, bundle: Path
) -> None:
    replace_variant(bundle, "rounded", b"no model")
    result = edgedl("bench", bundle, *QUICK, "--threads", 1)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "rounded.onnx")
    (found,) = all_tuned(bundle)
    assert found.variant == "fp32"


def test_every_row_is_in_the_json(edgedl: Edgedl, bundle: Path) -> None:
    result = edgedl("bench", bundle, *QUICK, "--threads", 1, "--json", "-")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    cases = [row["case"] for row in rows]
    assert {c["variant"] for c in cases} == {"fp32", "rounded"}
    assert {c["arena"] for c in cases} == {True, False}
    assert all(row["measurements"] for row in rows)
    assert len(all_tuned(bundle)) == 1


@pytest.mark.parametrize("problem", ["full", "nowhere"])
def test_what_can_not_be_stored_is_found_before_measuring(
    edgedl: Edgedl, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("it was measured first")

    monkeypatch.setattr(bench_tune, "measure_kept", refuse)
    if problem == "full":  # as if the disk were
        monkeypatch.setattr(result_file, "LEAST_FREE", 1 << 62)
        said = "a.bundle.tuned.json: No space left"
        result = edgedl("bench", bundle, *QUICK)
    else:
        said = "b.bundle is not a bundle"
        result = edgedl("bench", bundle, tmp_path / "b.bundle", *QUICK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, said)
    assert not all_tuned(bundle)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--batch", "1,8"), "one batch size"),
        (("--mode", "model,run"), "one --mode"),
        (("--rate", 10), "--rate does nothing"),
        (("--sustained", "2s"), "--sustained does nothing"),
    ],
)
def test_what_can_not_be_tuned_for(
    edgedl: Edgedl, bundle: Path, options: tuple[object, ...], problem: str
) -> None:
    result = edgedl("bench", bundle, "--tune", *options)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert all_tuned(bundle) == []


def test_two_sides_are_not_tuned(edgedl: Edgedl, bundle: Path) -> None:
    result = edgedl("bench", bundle, "vs", bundle, "--tune")
    assert result.exit_code == 2
    assert "one by one" in result.stderr


def test_a_folder_that_can_not_be_written_to_any_more(
    edgedl: Edgedl, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_tune, "check_writable", lambda file: None)  # it could be, before
    bundle.with_name("a.bundle.tuned.json").mkdir()
    result = edgedl("bench", bundle, *QUICK, "--threads", 1)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "can't be written")
    assert "a.bundle on cpu: " in result.stdout  # what was measured is told all the same
