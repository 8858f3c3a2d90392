"""What a machine tells of its health, from trees of files as boards and laptops have them."""

from __future__ import annotations

from mmap import PAGESIZE
from pathlib import Path

import pytest

from edgedl.runtime.health import Cpu
from edgedl.runtime.sensors import read_counters, read_health
from tests.machines import LAPTOP, PI4, THROTTLED, grow


def test_a_pi_4_tells_everything(tmp_path: Path) -> None:
    health = read_health(grow(tmp_path, PI4), range(4))
    assert len(health.cpus) == 4
    assert health.cpus[3] == Cpu(3, "ondemand", 1500000, 600000, 1500000, 1500000)
    assert health.temperature == 58.913
    assert health.throttled == 0
    assert health.under_voltage is False
    assert health.boosts is False
    assert health.swap_used == 1280 * 1024
    assert health.pressure == 1.55
    assert health.throttle_events is None


def test_a_laptop_tells_its_processors_temperature_not_its_disks(tmp_path: Path) -> None:
    health = read_health(grow(tmp_path, LAPTOP), [0])
    assert health.cpus == (Cpu(0, "powersave", 3412345, 400000, 4700000, 4700000, 1800000),)
    assert health.temperatures["nvme"] == 80.85
    assert health.temperature == 64
    assert health.throttle_events == 7
    assert health.boosts is True
    assert health.throttled is None


def test_an_empty_tree_tells_nothing_and_claims_nothing(tmp_path: Path) -> None:
    health = read_health(tmp_path, [0, 1])
    assert health.cpus == (Cpu(0), Cpu(1))
    assert health.temperature is None
    facts = (health.throttled, health.under_voltage, health.throttle_events, health.boosts)
    assert facts == (None,) * 4
    assert (health.swap_used, health.pressure) == (None, None)
    counters = read_counters(tmp_path, [0, 1])
    assert {getattr(counters, name) for name in counters.__struct_fields__} == {None}


@pytest.mark.parametrize(
    ("written", "bits"),
    [("0", 0), ("50005", 0x50005), ("80008", 0x80008), ("0x4", 4), ("", None), ("busy", None)],
)
def test_the_kernels_file_is_hexadecimal_without_a_prefix(
    tmp_path: Path, written: str, bits: int | None
) -> None:
    assert read_health(grow(tmp_path, {THROTTLED: written}), []).throttled == bits


@pytest.mark.parametrize(
    "place", ["soc:firmware", "soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"]
)
def test_the_file_is_found_where_kernels_put_it(tmp_path: Path, place: str) -> None:
    grow(tmp_path, {f"sys/devices/platform/{place}/get_throttled": "50000"})
    assert read_health(tmp_path, []).throttled == 0x50000


@pytest.mark.parametrize(
    ("kind", "state", "cooling"),
    [
        ("thermal-cpufreq-0", "2", True),
        ("cpufreq-cpu0", "1", True),
        ("Processor", "0", False),
        ("pwm-fan", "3", None),
        ("cpufreq-cpu0", "", None),
    ],
)
def test_cooling_is_what_slows_the_processor_not_a_fan(
    tmp_path: Path, kind: str, state: str, cooling: bool | None
) -> None:
    at = "sys/class/thermal/cooling_device0"
    assert (
        read_health(grow(tmp_path, {f"{at}/type": kind, f"{at}/cur_state": state}), []).cooling
        is cooling
    )


@pytest.mark.parametrize(
    ("cgroup", "file", "content"),
    [
        ("0::/app", "app/cpu.stat", "usage_usec 9\nnr_throttled 2\nthrottled_usec 1500"),
        ("0::/of/the/host", "cpu.stat", "usage_usec 9\nthrottled_usec 1500"),
        ("4:cpu,cpuacct:/app\n0::/", "cpu/app/cpu.stat", "nr_throttled 2\nthrottled_time 1500000"),
    ],
)
def test_what_a_quota_took_is_counted(tmp_path: Path, cgroup: str, file: str, content: str) -> None:
    grow(tmp_path, {"proc/self/cgroup": cgroup, f"sys/fs/cgroup/{file}": content})
    assert read_counters(tmp_path, []).held_ns == 1_500_000


def program(root: Path, script: str) -> Path:
    """A vcgencmd below the root."""
    path = grow(root, {"usr/bin/vcgencmd": f"#!/bin/sh\n{script}"}) / "usr/bin/vcgencmd"
    path.chmod(0o755)
    return root


@pytest.mark.parametrize(
    ("script", "bits"),
    [
        ('test "$1" = get_throttled && echo throttled=0x50005', 0x50005),
        ("echo throttled=0x0", 0),
        ("echo VCHI initialization failed >&2; exit 1", None),
        ("echo error=1", None),
        ("echo throttled=0x1; exit 1", None),
    ],
)
def test_where_there_is_no_file_the_program_is_asked(
    tmp_path: Path, script: str, bits: int | None
) -> None:
    assert read_health(program(tmp_path, script), []).throttled == bits


def test_the_program_is_left_alone_where_the_file_tells(tmp_path: Path) -> None:
    program(tmp_path, f"touch {tmp_path}/started; echo throttled=0x1")
    assert read_health(grow(tmp_path, {THROTTLED: "0"}), []).throttled == 0
    assert not (tmp_path / "started").exists()


def test_a_program_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedl.runtime.sensors.VCGENCMD_LIMIT_S", 0.1)
    assert read_health(program(tmp_path, "sleep 3; echo throttled=0x1"), []).throttled is None


def test_counters_are_this_processs_and_its_cpus(tmp_path: Path) -> None:
    grow(
        tmp_path,
        {
            "proc/stat": "cpu  1 1 1 1 1 1 1 1 0 0\n"
            "cpu0 100 10 50 800 40 1 2 7 9 9\ncpu1 1 0 0 5 0 0 0 1 0 0\ncpu2 9 9 9 9 9 9 9 9 9 9\n"
            "intr 8308933 0 0",
            "proc/vmstat": "pgpgin 5\npswpin 12\npswpout 30\nthp_swpout 9",
            "proc/self/stat": "42 (a (b) c) R 1 1 1 0 -1 4194304 99 0 17 0 3 4 0 0 20 0 1 0 11",
            "proc/self/schedstat": "5000000 48680 21",
        },
    )
    counters = read_counters(tmp_path, [0, 1])
    assert counters.ticks is not None
    assert (counters.ticks.busy, counters.ticks.idle, counters.ticks.stolen) == (164, 845, 8)
    assert counters.swapped_bytes == 42 * PAGESIZE
    assert counters.major_faults == 17
    assert counters.waited_ns == 48680


def test_this_machine_is_read_without_an_error() -> None:
    health = read_health()
    assert len(health.cpus) >= 1
    assert read_counters() - read_counters() is not None
