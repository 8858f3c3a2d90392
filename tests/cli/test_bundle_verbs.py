"""inspect, parity and bench: what they print where, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edgedl.bench import plan
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.manifest import Unquantised
from edgedl.runtime.protocol import Case, Measurement
from tests.bench.measurements import health, measurement
from tests.cli.conftest import ROOT, Edgedl, Python, assert_one_error
from tests.graphs import (
    change_manifest,
    change_variant,
    classifier_graph,
    classifier_weights,
    replace_variant,
    rounded,
    write_classifier_bundle,
)

QUICK = ("--launches", 1, "--seconds", 0.01, "--threads", 1)
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this one has CUDA"
)


@pytest.fixture
def wrong_bundle(tmp_path: Path) -> Path:
    """A bundle whose fp32 variant no longer answers what its source answered."""
    path = write_classifier_bundle(tmp_path / "wrong.bundle")
    replace_variant(
        path, "fp32", classifier_graph(rounded(classifier_weights())).SerializeToString()
    )
    return path


# --- inspect


def test_inspect_shows_tensors_and_variants(edgedl: Edgedl, text_bundle: Path) -> None:
    result = edgedl("inspect", text_bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    for expected in ("tokens: int64[batch, time]", "h_out", "-> h", "fp32", "rounded", ">= 1.17"):
        assert expected in result.stdout


def test_inspect_says_what_stays_in_float_and_why(edgedl: Edgedl, classifier_bundle: Path) -> None:
    left = [Unquantised(f"conv{i}", "Conv", "a reason") for i in range(5)]
    left.append(Unquantised("pairs", "MatMul", "another"))
    change_variant(classifier_bundle, "rounded", unquantised=tuple(left))
    shown = edgedl("inspect", classifier_bundle).stdout
    assert "rounded leaves in float:" in shown
    assert "  5 Conv (conv0, conv1, conv2, ... (5 in all)): a reason" in shown
    assert "  1 MatMul (pairs): another" in shown
    assert "fp32 leaves" not in shown


def test_inspect_says_which_recipes_made_nothing_and_why(
    edgedl: Edgedl, classifier_bundle: Path
) -> None:
    assert "left out" not in edgedl("inspect", classifier_bundle).stdout
    rejected = [{"recipe": "int8-static", "made": False, "reason": "nothing to quantise"}]
    change_manifest(classifier_bundle, provenance={"recipes_rejected": rejected})
    shown = edgedl("inspect", classifier_bundle).stdout
    assert "recipes left out:\n  int8-static: nothing to quantise" in shown


def test_inspect_as_json_is_the_manifest(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("inspect", classifier_bundle, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    manifest = json.loads(result.stdout)
    assert manifest == json.loads((classifier_bundle / "manifest.json").read_text())


def test_a_reader_that_leaves_early_sees_no_traceback(classifier_bundle: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edgedl", "inspect", str(classifier_bundle), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


# --- parity


def test_parity_proves_every_variant(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("parity", classifier_bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row[-1] == "ok"] == ["fp32", "rounded"]
    assert "labelled samples" in result.stdout


def test_parity_tells_what_it_compared_within_120_columns(
    edgedl: Edgedl, text_bundle: Path
) -> None:
    shown = edgedl("parity", text_bundle).stdout
    for header in ("max |a-b|", "max rel", "of tolerance", "SQNR", "cosine", "flips"):
        assert header in shown.splitlines()[0]
    assert "fp32 logits: single steps " in shown
    assert "the same text for 5 tokens" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_parity_as_json(edgedl: Edgedl, text_bundle: Path) -> None:
    result = edgedl("parity", text_bundle, "--variant", "fp32", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    (answer,) = json.loads(result.stdout)
    assert answer["device"] == "cpu"
    assert answer["host"]["versions"]["onnxruntime"] == onnxruntime.__version__
    (variant,) = answer["variants"]
    assert (variant["variant"], variant["passed"]) == ("fp32", True)
    logits, state = variant["outputs"]
    assert (logits["output"], state["output"]) == ("logits", "h_out")
    assert logits["least_multiple"] < 1.0
    assert (logits["flips"], logits["text_steps"], logits["diverged_at"]) == (0, 5, None)
    assert logits["local_max_abs"] is not None
    assert state["chunks_max_abs"] < 1e-5


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_parity_that_fails_is_exit_code_3(
    edgedl: Edgedl, wrong_bundle: Path, form: tuple[str, ...]
) -> None:
    result = edgedl("parity", wrong_bundle, *form)
    assert result.exit_code == 3
    assert_one_error(result.stderr, "parity failed: fp32: probabilities: max |a-b|")
    if form:
        verdicts = json.loads(result.stdout)[0]["variants"]
        assert {v["variant"]: v["passed"] for v in verdicts} == {"fp32": False, "rounded": True}
    else:
        assert "FAILED" in result.stdout


def test_a_wrong_variant_does_not_spoil_another(edgedl: Edgedl, wrong_bundle: Path) -> None:
    assert edgedl("parity", wrong_bundle, "--variant", "rounded").exit_code == 0


@pytest.mark.parametrize(
    "file", ["manifest.json", "fp32.onnx", "rounded.onnx", "golden.npz", "eval.npz"]
)
def test_one_changed_byte_is_found_and_named(edgedl: Edgedl, tmp_path: Path, file: str) -> None:
    path = write_classifier_bundle(tmp_path / "m.bundle")
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 0x01
    (path / file).write_bytes(content)
    result = edgedl("parity", path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert_one_error(result.stderr, file)


def test_a_missing_file_is_named(edgedl: Edgedl, tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "m.bundle")
    (path / "golden.npz").unlink()
    result = edgedl("parity", path)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "golden.npz is missing", hint="again")


# --- bench


def test_bench_prints_a_table(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, "--batch", "1,3", "--variant", "fp32", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = result.stdout.splitlines()
    assert {"case", "batch", "p50", "p99"} <= set(header.split())
    for row, batch in zip(rows, ("1", "3"), strict=False):
        assert row.startswith("fp32 ")
        assert batch in row.split()  # a machine that is shared may have an `invalid` column


def test_bench_keeps_raw_samples_and_the_machine(
    edgedl: Edgedl, text_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    result = edgedl(
        "bench", text_bundle, "--variant", "fp32", "--size", "time=6", "--json", file, *QUICK
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "fp32" in result.stdout
    (row,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert row["case"]["sizes"] == {"time": 6, "batch": 1}
    (launch,) = row["measurements"]
    assert len(launch["samples_ns"]) >= 20
    assert min(launch["samples_ns"]) > 0
    assert launch["host"]["versions"]["onnxruntime"] == onnxruntime.__version__


def test_bench_as_json_prints_nothing_else(edgedl: Edgedl, classifier_bundle: Path) -> None:
    result = edgedl("bench", classifier_bundle, "--json", "-", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"]["variant"] for row in rows] == ["fp32", "rounded"]


class HotBoard:
    """Stands in for a board that throttles, which can't be had here."""

    def run(self, case: Case) -> Measurement:
        return measurement(case, health=health(bits=5))


def test_bench_marks_what_throttled_and_ends_well(
    edgedl: Edgedl, classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "open_device", lambda name: HotBoard())
    result = edgedl("bench", classifier_bundle, "--variant", "fp32", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    header, row, *notes = result.stdout.splitlines()
    assert header.split()[:3] == ["case", "invalid", "p50"]
    assert row.split()[:4] == ["fp32", "throttling", "1", "us"]
    assert notes[0] == "fp32 is invalid: throttling: under-voltage, throttled"


def test_bench_gives_no_timing_for_a_wrong_answer(edgedl: Edgedl, wrong_bundle: Path) -> None:
    result = edgedl("bench", wrong_bundle, "--variant", "fp32", *QUICK)
    _, row, *_ = result.stdout.splitlines()
    assert row.split() == ["fp32", "wrong", "answer"]


def test_bench_of_a_wrong_answer_is_exit_code_3(edgedl: Edgedl, wrong_bundle: Path) -> None:
    result = edgedl("bench", wrong_bundle, "--variant", "fp32", *QUICK)
    assert result.exit_code == 3
    assert_one_error(result.stderr, "fp32")


def test_bench_into_a_directory_that_is_not_there_is_one_line(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "rows.jsonl"
    result = edgedl("bench", classifier_bundle, "--variant", "fp32", "--json", file, *QUICK)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "nowhere")


@pytest.mark.parametrize(
    "option",
    [("--batch", "0"), ("--batch", "x"), ("--batch", ""), ("--batch", "1,,2"), ("--threads", "-1"),
     ("--size", "time"), ("--size", "time=0"), ("--launches", "0"), ("--seconds", "0")],
)  # fmt: skip
def test_bench_with_a_bad_option_is_exit_code_2(
    edgedl: Edgedl, classifier_bundle: Path, option: tuple[str, str]
) -> None:
    result = edgedl("bench", classifier_bundle, *option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option[0] in result.stderr


# --- bundles and devices, whatever the verb


@pytest.mark.parametrize("verb", ["inspect", "parity", "bench", "run"])
def test_a_bundle_that_is_not_there_is_one_line(edgedl: Edgedl, tmp_path: Path, verb: str) -> None:
    arguments = ("--prompt", "a") if verb == "run" else ()
    for place in (tmp_path / "nowhere", tmp_path):
        result = edgedl(verb, place, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert_one_error(result.stderr, str(place))


@pytest.mark.parametrize("verb", ["parity", "bench", "run"])
def test_a_variant_that_is_not_there_is_one_line(
    edgedl: Edgedl, classifier_bundle: Path, verb: str
) -> None:
    arguments = ("--prompt", "a") if verb == "run" else ()
    result = edgedl(verb, classifier_bundle, "--variant", "int4", *arguments)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "no variant 'int4'", hint="fp32, rounded")


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:x", ""])
@pytest.mark.parametrize("verb", ["parity", "bench", "run"])
def test_an_unknown_device_is_exit_code_2(
    edgedl: Edgedl, classifier_bundle: Path, verb: str, device: str
) -> None:
    arguments = {"run": ("--prompt", "a"), "bench": QUICK, "parity": ()}[verb]
    result = edgedl(verb, classifier_bundle, "--device", device, *arguments)
    assert result.exit_code == 2
    assert "unknown device" in result.stderr
    assert "cuda" in result.stderr


@without_cuda
@pytest.mark.parametrize("verb", ["parity", "bench", "run"])
def test_cuda_that_is_not_there_is_said_not_replaced(
    edgedl: Edgedl, classifier_bundle: Path, verb: str
) -> None:
    arguments = {"run": ("--prompt", "a"), "bench": QUICK, "parity": ()}[verb]
    result = edgedl(verb, classifier_bundle, "--device", "cuda", *arguments)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "has no CUDAExecutionProvider", hint="edgedl[gpu]")


def test_as_a_process_results_and_errors_go_their_own_ways(
    python: Python, wrong_bundle: Path
) -> None:
    done = python("-m", "edgedl", "parity", wrong_bundle, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)
    assert_one_error(done.stderr, "parity failed")


def test_a_bundle_with_a_fixed_batch_has_no_batches(edgedl: Edgedl, tmp_path: Path) -> None:
    from tests.graphs import IMAGE, PROBABILITIES, change_manifest

    path = write_classifier_bundle(tmp_path / "m.bundle")
    fixed = tuple(type(s)(s.name, s.dtype, (1, *s.shape[1:])) for s in (IMAGE, PROBABILITIES))
    change_manifest(path, inputs=fixed[:1], outputs=fixed[1:])
    assert open_bundle(path).manifest.inputs[0].shape[0] == 1
    result = edgedl("bench", path, "--batch", "8")
    assert result.exit_code == 1
    assert_one_error(result.stderr, "fixed batch size", hint="--batch")
