"""The target: what its own worker says of the device."""

from __future__ import annotations

import onnxruntime as ort
import pytest

from edgedl.export.target import Target, find_target
from edgedl.runtime.errors import EdgedlError, UnknownDeviceError
from edgedl.runtime.host import describe_host


def test_features_are_those_of_the_device() -> None:
    host = describe_host()
    assert find_target("cpu") == Target("cpu", host.machine, host.features, host)


def test_any_cpu_may_saturate() -> None:
    assert find_target(None).saturates
    assert Target("cpu", "x86_64", ("avx2",)).saturates
    assert not Target("cpu", "x86_64", ("avx2", "avx512_vnni")).saturates
    assert not Target("cpu", "aarch64").saturates


def test_an_unknown_device_is_wrong_usage() -> None:
    with pytest.raises(UnknownDeviceError) as caught:
        find_target("tpu")
    assert caught.value.exit_code == 2


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_a_device_that_can_not_be_had_is_refused() -> None:
    with pytest.raises(EdgedlError, match="CUDAExecutionProvider") as caught:
        find_target("cuda")
    assert caught.value.exit_code == 1
    assert "edgedl[gpu]" in caught.value.hint
