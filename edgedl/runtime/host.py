"""What machine is this: processor, cores this process may use, memory, versions."""

from __future__ import annotations

import math
import os
import platform
import sys
from pathlib import Path

from msgspec import Struct

RUNTIME_DISTRIBUTIONS = (
    "edgedl", "numpy", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino",
    "onnxruntime-directml", "onnxruntime-migraphx", "onnxruntime-webgpu", "msgspec",
)  # fmt: skip


# What decides which kernels ONNX Runtime picks, as Linux calls it in /proc/cpuinfo.
CPU_FEATURES = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


class Host(Struct, frozen=True):
    """A fingerprint of the machine a worker runs on. Memory is in bytes.

    `features` are those of `CPU_FEATURES` that the processor has, `flags` all that the system
    tells. `engine` is how onnxruntime was built; empty where it isn't loaded.
    """

    system: str
    machine: str
    processor: str
    cpus: int
    memory: int
    python: str
    versions: dict[str, str]
    features: tuple[str, ...] = ()
    flags: str = ""
    kernel: str = ""
    libc: str = ""
    engine: str = ""


def describe_host() -> Host:
    """The machine this process runs on."""
    return Host(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        processor=processor(),
        cpus=usable_cpus(),
        memory=_memory(),
        python=platform.python_version(),
        versions=installed_versions(RUNTIME_DISTRIBUTIONS),
        features=cpu_features(),
        flags=_flags(Path("/")),
        kernel=platform.version(),
        libc=" ".join(platform.libc_ver()).strip(),
        engine=_engine_build(),
    )


def _engine_build() -> str:
    """How onnxruntime was built; not imported for that, and old ones don't tell."""
    build = getattr(sys.modules.get("onnxruntime"), "get_build_info", None)
    return str(build()) if build else ""


def installed_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """The version of each distribution that is installed."""
    from importlib import metadata  # a tenth of the time that importing the runtime takes

    versions = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use: its affinity, bounded by the cgroup's quota.

    Args:
        root: Where /sys is found; another tree in tests.

    Source: cgroup v2 `cpu.max` and v1 `cpu.cfs_quota_us`, kernel documentation
    admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota(root)
    return max(1, math.ceil(min(affinity or 1, quota)))


def _cgroup_quota(root: Path) -> float:
    """CPUs' worth of time the cgroup grants; infinite where it sets no limit."""
    fs = root / "sys/fs/cgroup"
    quota, _, period = _text(fs / "cpu.max").partition(" ")
    if not quota:
        quota = _text(fs / "cpu/cpu.cfs_quota_us")
        period = _text(fs / "cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period) > 0):
        return math.inf
    return int(quota) / int(period)


def cpu_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Those of `CPU_FEATURES` that the processor has; none where the system doesn't tell."""
    found = _flags(root).split()
    return tuple(name for name in CPU_FEATURES if name in found)


def _flags(root: Path) -> str:
    """What the processor has, as x86 and ARM systems call it."""
    fields = _cpuinfo(root)
    return f"{fields.get('flags', '')} {fields.get('Features', '')}".strip()


def _cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def processor() -> str:
    """The processor's name, as the system calls it."""
    fields = _cpuinfo()
    for key in ("model name", "Model", "Hardware"):
        if fields.get(key):
            return fields[key]
    return platform.processor() or platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
