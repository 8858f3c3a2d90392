"""The worker: one JSON line in, one out, and measurements that mean what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgedl.runtime.manifest import Tolerance
from edgedl.runtime.protocol import Answer, Case, Failure, Measurement, ParityAnswer, ParityRequest
from edgedl.runtime.worker import answer
from tests.graphs import classifier_golden, replace_variant, write_classifier_bundle

QUICK: dict[str, Any] = {"warmup_s": 0.0, "least_s": 0.01, "least_count": 5, "threads": 1}

SUBJECT = '''
import json
import time
from pathlib import Path

import numpy as np


def right(inputs, threads, file):
    """Answers the file's first three shares, whatever the image."""
    probabilities = np.load(file)
    return lambda: {"probabilities": probabilities}


def wrong(inputs, threads):
    return lambda: {"probabilities": np.zeros((len(inputs["image"]), 3), np.float32)}


def silent(inputs, threads):
    return lambda: None


def slow(inputs, threads):
    return lambda: time.sleep(0.02)


def recorded(inputs, threads, file):
    seen = {name: [str(array.dtype), *array.shape] for name, array in inputs.items()}
    Path(file).write_text(json.dumps({"inputs": seen, "threads": threads}))
    return lambda: None
'''


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    """A file with factories of things to measure."""
    file = tmp_path / "subjects.py"
    file.write_text(SUBJECT)
    return file


def measured(case: Case) -> Measurement:
    """The measurement of a case that must succeed."""
    reply = answer(case)
    assert isinstance(reply, Measurement), reply
    return reply


def refused(case: Case) -> Failure:
    """The failure of a case that must fail."""
    reply = answer(case)
    assert isinstance(reply, Failure), reply
    return reply


def test_a_worker_process_answers_line_by_line(text_bundle: Path) -> None:
    case = Case(str(text_bundle), "fp32", **QUICK)
    requests = [case, ParityRequest(str(text_bundle), threads=1)]
    child = subprocess.run(
        [sys.executable, "-m", "edgedl.runtime.worker"],
        input=msgspec.json.Encoder().encode_lines(requests) + b"\n",
        capture_output=True,
        check=True,
    )
    lines = child.stdout.splitlines()
    assert len(lines) == 2
    measurement, parity = (msgspec.json.decode(line, type=Answer) for line in lines)
    assert isinstance(measurement, Measurement)
    assert measurement.case == case
    assert measurement.import_ns > 1e6  # NumPy and the engine, in a fresh process
    assert measurement.load_ns > 0
    assert measurement.warm_load_ns is not None
    assert measurement.warm_load_ns > 0
    assert measurement.memory is None or measurement.memory > 10 << 20
    assert measurement.first_run_ns > 0
    assert len(measurement.samples_ns) >= 5
    assert all(0 < sample < 1e9 for sample in measurement.samples_ns)
    assert sum(measurement.samples_ns) >= 0.005e9
    assert measurement.peak_resident is None or measurement.peak_resident > 1 << 20
    assert measurement.host.cpus >= 1
    assert list(measurement.providers) == ["CPUExecutionProvider"]
    assert measurement.health is not None
    assert measurement.health.looks >= 1
    assert measurement.health.look_ns < measurement.health.elapsed_ns
    assert isinstance(parity, ParityAnswer)
    assert [(row.variant, row.passed) for row in parity.variants] == [
        ("fp32", True),
        ("rounded", True),
    ]


def test_inputs_have_the_sizes_asked_for(text_bundle: Path, subject: Path, tmp_path: Path) -> None:
    case = Case(
        str(text_bundle),
        "fp32",
        sizes={"batch": 3, "time": 7},
        subject=f"{subject}:recorded",
        subject_args=(str(tmp_path / "seen.json"),),
        **QUICK,
    )
    assert measured(case).parity == ()
    assert json.loads((tmp_path / "seen.json").read_text()) == {
        "inputs": {"tokens": ["int64", 3, 7], "h": ["float32", 1, 3, 5]},
        "threads": 1,
    }


def test_sizes_that_are_not_given_are_one(text_bundle: Path, subject: Path, tmp_path: Path) -> None:
    case = Case(
        str(text_bundle),
        "fp32",
        subject=f"{subject}:recorded",
        subject_args=(str(tmp_path / "seen.json"),),
        **QUICK,
    )
    measured(case)
    assert json.loads((tmp_path / "seen.json").read_text())["inputs"]["tokens"] == ["int64", 1, 1]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_answer_to_golden_inputs_is_checked(classifier_bundle: Path, batch: int) -> None:
    (row,) = measured(Case(str(classifier_bundle), "fp32", sizes={"batch": batch}, **QUICK)).parity
    assert (row.output, row.passed, row.worst_case) == ("probabilities", True, f"batch{batch}")


def test_any_other_size_is_measured_unchecked(classifier_bundle: Path) -> None:
    measurement = measured(Case(str(classifier_bundle), "fp32", sizes={"batch": 7}, **QUICK))
    assert measurement.parity == ()
    assert len(measurement.samples_ns) >= 5


def test_an_unknown_axis_is_refused_with_the_known_ones(text_bundle: Path) -> None:
    failure = refused(Case(str(text_bundle), "fp32", sizes={"bach": 2}, **QUICK))
    assert "no dynamic axis 'bach'" in failure.message
    assert failure.hint == "it has: batch, time"


def test_an_unknown_variant_is_refused(text_bundle: Path) -> None:
    assert "int4" in refused(Case(str(text_bundle), "int4", **QUICK)).message


def test_a_broken_variant_is_a_failure_not_a_crash(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "broken.bundle")
    replace_variant(path, "fp32", b"no model")
    assert "fp32.onnx" in refused(Case(str(path), "fp32", **QUICK)).message
    assert measured(Case(str(path), "rounded", **QUICK)).samples_ns


def test_a_variants_answer_is_held_to_its_own_tolerance(classifier_bundle: Path) -> None:
    (row,) = measured(Case(str(classifier_bundle), "rounded", **QUICK)).parity
    assert row.passed
    assert row.max_abs > 1e-3


@pytest.mark.parametrize(("above", "passes"), [(5.0, True), (7.0, False)])
def test_one_golden_case_may_be_noisier_than_all_together(
    classifier_bundle: Path, above: float, passes: bool
) -> None:
    (row,) = measured(Case(str(classifier_bundle), "rounded", **QUICK)).parity
    assert row.sqnr_db is not None
    least = Tolerance(min_sqnr_db=row.sqnr_db + above)
    (held,) = measured(Case(str(classifier_bundle), "rounded", tolerance=least, **QUICK)).parity
    assert held.passed is passes


def test_a_subject_is_measured_and_checked(
    classifier_bundle: Path, subject: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "right.npy", classifier_golden()[0].outputs["probabilities"])
    case = Case(
        str(classifier_bundle),
        "fp32",
        subject=f"{subject}:right",
        subject_args=(str(tmp_path / "right.npy"),),
        label="rival",
        **QUICK,
    )
    measurement = measured(case)
    assert case.name == "rival"
    assert len(measurement.samples_ns) >= 5
    assert [row.passed for row in measurement.parity] == [True]


def test_a_subject_that_answers_wrongly_is_caught(classifier_bundle: Path, subject: Path) -> None:
    case = Case(str(classifier_bundle), "fp32", subject=f"{subject}:wrong", **QUICK)
    (row,) = measured(case).parity
    assert not row.passed
    assert "probabilities" in row.output


def test_a_subject_may_answer_nothing(classifier_bundle: Path, subject: Path) -> None:
    case = Case(str(classifier_bundle), "fp32", subject=f"{subject}:silent", **QUICK)
    assert measured(case).parity == ()


def test_a_subject_that_is_not_there_is_named(classifier_bundle: Path, subject: Path) -> None:
    for name in (f"{subject}.missing:right", str(subject)):
        failure = refused(Case(str(classifier_bundle), "fp32", subject=name, **QUICK))
        assert name in failure.message
        assert failure.hint == "give file.py:factory"


def test_a_subject_is_measured_on_the_cpu_only(classifier_bundle: Path, subject: Path) -> None:
    case = Case(str(classifier_bundle), "fp32", "cuda", subject=f"{subject}:silent", **QUICK)
    assert refused(case).exit_code == 2


def test_samples_are_what_a_run_takes_and_the_time_is_bounded(
    classifier_bundle: Path, subject: Path
) -> None:
    case = Case(
        str(classifier_bundle),
        "fp32",
        subject=f"{subject}:slow",
        warmup_s=0.0,
        least_s=0.0,
        least_count=1000,
        most_s=0.1,
    )
    begin = time.perf_counter()
    samples = measured(case).samples_ns
    assert time.perf_counter() - begin < 2
    assert 1 <= len(samples) <= 6
    assert min(samples) >= 0.02e9
