"""A worker in a process of its own: its answer, or how it ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import onnxruntime as ort
import pytest

from edgedl.devices import open_device
from edgedl.devices.local import LocalDevice
from edgedl.runtime.errors import UnknownDeviceError, WorkerError
from edgedl.runtime.host import describe_host
from edgedl.runtime.protocol import (
    Case,
    Failure,
    HostAnswer,
    HostRequest,
    Measurement,
    ParityAnswer,
    ParityRequest,
)

REQUEST = ParityRequest("nowhere.bundle")


def device_that_runs(code: str) -> LocalDevice:
    """A device whose worker is a Python one-liner."""
    return LocalDevice("cpu", (sys.executable, "-c", code))


def test_a_bundle_is_verified_in_another_process(classifier_bundle: Path) -> None:
    answer = open_device("cpu").run(ParityRequest(str(classifier_bundle), threads=1))
    assert isinstance(answer, ParityAnswer)
    assert [row.passed for row in answer.variants] == [True, True]


def test_what_a_subject_prints_does_not_spoil_the_answer(
    classifier_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "chatty.py"
    file.write_text("def chatty(inputs, threads):\n    print('loading')\n    return lambda: None\n")
    case = Case(
        str(classifier_bundle),
        "fp32",
        subject=f"{file}:chatty",
        warmup_s=0.0,
        least_s=0.0,
        least_count=3,
    )
    assert isinstance(open_device("cpu").run(case), Measurement)


def test_the_parent_blocks_while_a_worker_is_busy() -> None:
    begin = time.process_time()
    with pytest.raises(WorkerError):
        device_that_runs("import time; time.sleep(1)").run(REQUEST)
    # It starts a process and waits: a parent that polls would be busy for most of the second.
    assert time.process_time() - begin < 0.5


def test_an_error_a_person_can_act_on_comes_back() -> None:
    answer = open_device("cpu").run(REQUEST)
    assert isinstance(answer, Failure)
    assert "nowhere.bundle is not a bundle" in answer.message
    assert answer.exit_code == 1


def test_a_killed_worker_names_the_signal() -> None:
    device = device_that_runs("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WorkerError, match="was killed by SIGKILL: no message") as caught:
        device.run(REQUEST)
    assert "memory" in caught.value.hint


def test_a_worker_that_fails_gives_its_last_words() -> None:
    with pytest.raises(WorkerError, match="ended with status 3: out of luck"):
        device_that_runs(
            "import sys; print('first\\nout of luck', file=sys.stderr); sys.exit(3)"
        ).run(REQUEST)


@pytest.mark.parametrize("words", ["", "hello", '{"answer": "poem"}', "{}"])
def test_a_worker_that_says_something_else_is_an_error(words: str) -> None:
    with pytest.raises(WorkerError, match="ended with status 0"):
        device_that_runs(f"print({words!r})").run(REQUEST)


def test_a_request_larger_than_a_pipe_reaches_a_worker_that_never_reads() -> None:
    request = ParityRequest("x" * (1 << 20))
    with pytest.raises(WorkerError, match="ended with status 5"):
        device_that_runs("import sys; sys.exit(5)").run(request)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_cuda_without_cuda_is_a_failure_with_the_next_step(classifier_bundle: Path) -> None:
    answer = open_device("cuda:0").run(ParityRequest(str(classifier_bundle), device="cuda:0"))
    assert isinstance(answer, Failure)
    assert "CUDAExecutionProvider" in answer.message
    assert "edgedl[gpu]" in answer.hint


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_a_machine_without_the_devices_provider_says_so_when_asked_what_it_is() -> None:
    answer = open_device("cuda:0").run(HostRequest("cuda:0"))
    assert isinstance(answer, Failure)
    assert answer.exit_code == 1
    assert "CUDAExecutionProvider" in answer.message


def test_a_worker_tells_what_machine_it_runs_on() -> None:
    answer = open_device("cpu").run(HostRequest("cpu"))
    assert answer == HostAnswer("cpu", describe_host())


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cpux", "cuda:x", "cuda:", "cpu:1"])
def test_an_unknown_device_is_wrong_usage(name: str) -> None:
    with pytest.raises(UnknownDeviceError) as caught:
        open_device(name)
    assert caught.value.exit_code == 2
    assert "cpu" in caught.value.hint
