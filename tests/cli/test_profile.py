"""bench --profile and inspect --placement: what they print where, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

from tests.cli.conftest import Edgedl, assert_one_error
from tests.graphs import replace_variant, write_classifier_bundle

QUICK = ("--profile", "--seconds", 0.01, "--threads", 1)
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this one has CUDA"
)


def test_a_profile_is_time_by_operator_then_node_beside_its_limit(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    case = ("--variant", "fp32", "--batch", 2, "--json", tmp_path / "profile.jsonl")
    result = edgedl("bench", classifier_bundle, *QUICK, *case)
    assert (result.exit_code, result.stderr) == (0, "")
    title, *lines = result.stdout.splitlines()
    assert title == "shapes.bundle fp32 batch 2"
    headers = [line.split() for line in lines if line.startswith(("operator ", "node "))]
    assert headers == [
        ["operator", "nodes", "time", "share", "provider"],
        ["node", "operator", "time", "share", "GB/s", "GOP/s", "bound", "by", "floor", "of",
         "the", "limit"],
    ]  # fmt: skip
    for expected in ("Softmax", "untraced run", "limits with 1 thread:"):
        assert expected in result.stdout
    assert "p50" not in result.stdout
    assert dense_operations((tmp_path / "profile.jsonl").read_text()) == [2 * 2 * 16 * 3]


def dense_operations(lines: str) -> list[int]:
    """The dense layer's operations in the one profile of JSON lines."""
    profile = json.loads(lines)
    assert profile["answer"] == "profile"
    return [n["operations"] for n in profile["nodes"] if n["operator"] in ("Gemm", "FusedGemm")]


def test_a_profile_as_json_lines_is_what_the_worker_measured(
    edgedl: Edgedl, classifier_bundle: Path
) -> None:
    result = edgedl("bench", classifier_bundle, *QUICK, "--variant", "rounded", "--json", "-")
    assert result.stderr == ""
    assert dense_operations(result.stdout) == [2 * 16 * 3]


def test_a_variant_that_fails_loses_no_other_ones_profile(edgedl: Edgedl, tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "half.bundle")
    replace_variant(path, "fp32", b"no model")
    result = edgedl("bench", path, *QUICK)
    assert result.exit_code == 1
    assert "half.bundle rounded batch 1" in result.stdout
    assert_one_error(result.stderr, "fp32: onnxruntime")


@pytest.mark.parametrize(
    "idle",
    [("--launches", 2), ("--fail-above", "5%"), ("--strict", "--fail-above", "5%")],
    ids=lambda idle: idle[0],
)
def test_what_would_do_nothing_with_a_profile_is_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, idle: tuple[object, ...]
) -> None:
    assert edgedl("bench", classifier_bundle, *QUICK, *idle).exit_code == 2


def test_two_sides_are_not_profiled(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, "vs", classifier_bundle, *QUICK)
    assert result.exit_code == 2
    assert "leave out `vs`" in result.stderr


def test_placement_says_where_each_node_runs(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("inspect", classifier_bundle, "--placement")
    assert (result.exit_code, result.stderr) == (0, "")
    titles = [line for line in result.stdout.splitlines() if " on cpu: " in line]
    assert [title.split()[0] for title in titles] == ["fp32", "rounded"]
    assert all(title.endswith(" nodes on CPU") for title in titles)
    (softmax, _) = (line for line in result.stdout.splitlines() if "Softmax" in line)
    assert softmax.split()[-2:] == ["Softmax", "CPU"]


def test_placement_as_json(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("inspect", classifier_bundle, "--placement", "--variant", "fp32", "--json")
    (answer,) = json.loads(result.stdout)
    (placed,) = answer["variants"]
    assert placed["variant"] == "fp32"
    assert {node["provider"] for node in placed["nodes"]} == {"CPUExecutionProvider"}


@without_cuda
def test_a_device_that_is_not_there_loses_no_other_ones_placement(
    edgedl: Edgedl, classifier_bundle: Path
) -> None:
    devices = ("--device", "cuda", "--device", "cpu")
    result = edgedl("inspect", classifier_bundle, "--placement", *devices)
    assert result.exit_code == 1
    assert "fp32 on cpu: " in result.stdout
    assert_one_error(result.stderr, "CUDAExecutionProvider", "edgedl[gpu]")


@pytest.mark.parametrize("option", ["--variant", "--device"])
def test_options_of_placement_alone_are_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, option: str
) -> None:
    result = edgedl("inspect", classifier_bundle, option, "cpu")
    assert result.exit_code == 2
    assert f"{option} goes with --placement" in result.stderr
