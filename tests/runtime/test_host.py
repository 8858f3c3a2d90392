"""What this machine is, and what a container leaves of it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgedl.runtime.host import describe_host, usable_cpus
from edgedl.runtime.start import peak_resident_bytes

V2 = "sys/fs/cgroup/cpu.max"
V1_QUOTA = "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
V1_PERIOD = "sys/fs/cgroup/cpu/cpu.cfs_period_us"
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@LINUX
@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({V2: "max 100000\n"}, 8),
        ({V2: "150000 100000\n"}, 2),
        ({V2: "300000 100000\n"}, 3),
        ({V2: "5000 100000\n"}, 1),
        ({V2: "6400000 100000\n"}, 8),
        ({V2: "nonsense\n"}, 8),
        ({V1_QUOTA: "-1\n", V1_PERIOD: "100000\n"}, 8),
        ({V1_QUOTA: "400000\n", V1_PERIOD: "100000\n"}, 4),
        ({V1_QUOTA: "400000\n"}, 8),
    ],
)
def test_a_cgroups_quota_bounds_the_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cpus(tmp_path) == cpus


def test_a_host_says_what_it_runs() -> None:
    host = describe_host()
    assert host.cpus >= 1
    assert host.memory > 1 << 20
    assert host.versions["numpy"] == np.__version__
    assert host.processor


@LINUX
def test_peak_memory_grows_with_what_is_touched() -> None:
    code = (
        "from edgedl.runtime.start import peak_resident_bytes as peak\n"
        "before = peak(); block = bytearray(b'x') * (64 << 20); print(before, peak())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    before, after = map(int, printed.split())
    assert before > 1 << 20
    assert 60 << 20 < after - before < 200 << 20


@LINUX
def test_peak_memory_is_this_processs_own_not_its_parents() -> None:
    block = np.ones(256 << 20, np.uint8)  # 256 MiB here, none of them in the child
    code = "from edgedl.runtime.start import peak_resident_bytes as peak; print(peak())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    own = peak_resident_bytes()
    assert own is not None
    assert own > block.nbytes
    assert int(printed) < 200 << 20


def test_a_fingerprint_names_the_kernel_the_libc_and_the_engines_build() -> None:
    import onnxruntime

    host = describe_host()
    assert host.kernel == platform.version()
    assert host.engine == onnxruntime.get_build_info()
    assert set(host.features) <= set(host.flags.split())
    if platform.libc_ver()[0]:
        assert platform.libc_ver()[1] in host.libc
