"""A launch that is watched, and what each fault on the way makes of its timings."""

from __future__ import annotations

from collections.abc import Mapping
from mmap import PAGESIZE
from pathlib import Path

import pytest

from edgedl.runtime.health import Report
from edgedl.runtime.health_verdict import (
    cautions,
    describe_health,
    kinds,
    reasons_invalid,
    unknowns,
)
from edgedl.runtime.watch import INTERVAL_NS, Watch
from tests.machines import LAPTOP, PI4, THROTTLED, grow

Files = Mapping[str, str]
CPU0 = "sys/devices/system/cpu/cpu0/cpufreq"
ALARM = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"
CORE_EVENTS = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"


def stat(busy: int, idle: int = 0, stolen: int = 0) -> dict[str, str]:
    """/proc/stat of one CPU, in ticks since boot."""
    line = f"{busy} 0 0 {idle} 0 0 0 {stolen} 0 0"
    return {"proc/stat": f"cpu  {line}\ncpu0 {line}\nintr 5"}


def clock(khz: int) -> dict[str, str]:
    """The frequency CPU 0 runs at."""
    return {f"{CPU0}/scaling_cur_freq": str(khz)}


QUIET: Files = {
    "proc/vmstat": "pswpin 7\npswpout 7",
    "proc/self/stat": "42 (python) R 1 1 1 0 -1 4194304 99 0 0 0 3 4",
    "proc/self/schedstat": "5000000 0 21",
}
STEADY = {**PI4, **QUIET, **stat(0), f"{CPU0}/scaling_governor": "performance"}


def watched(root: Path, before: Files, *steps: Files, after: Files | None = None) -> Report:
    """A launch on a machine that is `before`, each step before a look, `after` at the end.

    The CPU is busy from look to look unless a step says otherwise.
    """
    grow(root, before)
    watch = Watch(root, [0])
    for number, step in enumerate(steps):
        grow(root, {**stat(25 * (number + 1)), **step})
        watch.look(number * INTERVAL_NS)
    grow(root, {**stat(25 * (len(steps) + 1)), **(after or {})})
    return watch.report()


def test_a_steady_launch_is_valid_and_without_caution(tmp_path: Path) -> None:
    report = watched(tmp_path, STEADY, {}, {}, {})
    assert reasons_invalid([report]) == []
    assert cautions([report]) == []
    assert unknowns(report) == []
    assert describe_health([report]) == "governor performance; at most 59 °C"
    assert report.looks == 3
    assert report.seen.clocks[0].readings == 4  # with the one for the report


def test_looks_are_an_interval_apart(tmp_path: Path) -> None:
    grow(tmp_path, STEADY)
    watch = Watch(tmp_path, [0])
    for now_ns in (5, 6, INTERVAL_NS, INTERVAL_NS + 5, INTERVAL_NS + 6, 2 * INTERVAL_NS + 5):
        watch.look(now_ns)
    assert watch.report().looks == 3


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ("1", "under-voltage"),
        ("2", "frequency capped"),
        ("4", "throttled"),
        ("8", "soft temperature limit"),
        ("50005", "under-voltage, throttled"),
    ],
)
@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
def test_a_live_bit_at_any_time_is_invalid(tmp_path: Path, bits: str, said: str, when: str) -> None:
    fault, fine = {THROTTLED: bits}, {THROTTLED: "0"}
    report = watched(
        tmp_path,
        {**STEADY, **(fault if when == "before" else {})},
        fine,
        fault if when == "meanwhile" else {},
        fine,
        after=fault if when == "after" else {},
    )
    assert reasons_invalid([report]) == [f"throttling: {said}"]


def test_a_bit_set_since_boot_is_invalid_where_it_is_new(tmp_path: Path) -> None:
    report = watched(tmp_path, {**STEADY, THROTTLED: "10000"}, {}, {THROTTLED: "50000"}, {})
    assert reasons_invalid([report]) == ["throttling: throttled for a moment"]
    assert cautions([report]) == ["since boot, before this: under-voltage"]


def test_a_bit_that_the_kernel_cleared_and_the_firmware_set_again_is_new(tmp_path: Path) -> None:
    once, again = {THROTTLED: "10000"}, {THROTTLED: "0"}
    report = watched(tmp_path, {**STEADY, **once}, again, once)
    assert reasons_invalid([report]) == ["throttling: under-voltage for a moment"]


def test_a_bit_set_before_is_a_caution_only(tmp_path: Path) -> None:
    report = watched(tmp_path, {**STEADY, THROTTLED: "80000"}, {}, {})
    assert reasons_invalid([report]) == []
    assert cautions([report]) == ["since boot, before this: soft temperature limit"]


def test_a_board_without_the_file_is_asked_before_and_after_only(tmp_path: Path) -> None:
    program = tmp_path / "usr/bin/vcgencmd"
    says = f"#!/bin/sh\necho asked >> {tmp_path}/asked; echo throttled=0x"
    board = {name: content for name, content in STEADY.items() if name != THROTTLED}
    grow(tmp_path, {**board, "usr/bin/vcgencmd": f"{says}10000"})
    program.chmod(0o755)
    watch = Watch(tmp_path, [0])
    watch.look(0)
    watch.look(INTERVAL_NS)
    program.write_text(f"{says}50000\n")
    report = watch.report()
    assert reasons_invalid([report]) == ["throttling: throttled for a moment"]
    assert (tmp_path / "asked").read_text().split() == ["asked"] * 2


def test_where_the_bits_are_unreadable_the_alarm_tells(tmp_path: Path) -> None:
    report = watched(tmp_path, {**STEADY, THROTTLED: ""}, {ALARM: "1"}, {ALARM: "0"})
    assert reasons_invalid([report]) == ["throttling: under-voltage"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_cooling_by_the_kernel_is_invalid(tmp_path: Path, when: str) -> None:
    at = "sys/class/thermal/cooling_device0"
    board = {**STEADY, f"{at}/type": "thermal-cpufreq-0", f"{at}/cur_state": "0"}
    hot = {f"{at}/cur_state": "2"}
    fine = watched(tmp_path / "fine", board, {}, {})
    assert reasons_invalid([fine]) == []
    start, step = ({**board, **hot}, {f"{at}/cur_state": "0"}) if when == "before" else (board, hot)
    report = watched(tmp_path / "hot", start, step, {f"{at}/cur_state": "0"})
    assert reasons_invalid([report]) == ["throttling: the kernel held the processor back for heat"]


def test_an_alarm_beside_the_bits_adds_nothing(tmp_path: Path) -> None:
    past = watched(tmp_path / "past", {**STEADY, THROTTLED: "10000", ALARM: "1"}, {})
    assert reasons_invalid([past]) == []
    live = watched(tmp_path / "live", {**STEADY, THROTTLED: "1", ALARM: "1"}, {})
    assert reasons_invalid([live]) == ["throttling: under-voltage"]


def test_an_x86_processor_that_slowed_down_is_invalid(tmp_path: Path) -> None:
    cool = watched(tmp_path / "cool", {**LAPTOP, **QUIET, **stat(0)}, {}, {})
    assert reasons_invalid([cool]) == []
    hot = watched(tmp_path / "hot", {**LAPTOP, **QUIET, **stat(0)}, {}, {CORE_EVENTS: "9"})
    assert reasons_invalid([hot]) == ["throttling: the processor slowed down for heat"]


def test_a_clock_that_falls_by_a_tenth_is_invalid(tmp_path: Path) -> None:
    little = watched(tmp_path / "a", STEADY, {}, clock(1_400_000), {})
    assert reasons_invalid([little]) == []
    much = watched(tmp_path / "b", STEADY, {}, clock(1_000_000), clock(1_500_000))
    assert reasons_invalid([much]) == ["frequency: the clock of CPU 0 fell to 67% of 1.5 GHz"]


def test_a_turbo_that_ends_meanwhile_is_a_clock_that_fell(tmp_path: Path) -> None:
    report = watched(tmp_path, {**LAPTOP, **QUIET, **stat(0)}, clock(4_600_000), clock(2_300_000))
    assert reasons_invalid([report]) == ["frequency: the clock of CPU 0 fell to 50% of 4.6 GHz"]


def test_a_clock_that_rises_is_valid(tmp_path: Path) -> None:
    start = {**STEADY, f"{CPU0}/scaling_governor": "ondemand", **clock(600_000)}
    report = watched(tmp_path, start, clock(1_000_000), clock(1_500_000))
    assert reasons_invalid([report]) == []
    assert cautions([report]) == ["governor ondemand: the clock follows the load"]


def test_the_clock_of_an_idle_cpu_says_nothing(tmp_path: Path) -> None:
    half_idle = {**clock(600_000), **stat(25 + 12, idle=13)}
    report = watched(tmp_path, STEADY, {}, half_idle, after=stat(37, idle=40))
    assert reasons_invalid([report]) == []
    idle = watched(tmp_path / "idle", STEADY, stat(0, idle=25), after=stat(0, idle=50))
    assert idle.seen.clocks == {}
    assert cautions([idle]) == ["no CPU was busy for long enough to judge its clock"]


def test_a_clock_that_is_low_all_along_is_invalid_where_the_governor_wants_it_high(
    tmp_path: Path,
) -> None:
    capped = watched(tmp_path / "a", {**STEADY, **clock(1_200_000)}, {}, {})
    assert reasons_invalid([capped]) == ["frequency: CPU 0 ran at 1.2 GHz, which can keep 1.5 GHz"]
    slow = {**STEADY, **clock(1_200_000), f"{CPU0}/scaling_governor": "powersave"}
    assert reasons_invalid([watched(tmp_path / "b", slow, {}, {})]) == []


def test_a_turbo_is_not_what_a_processor_can_keep(tmp_path: Path) -> None:
    laptop = {**LAPTOP, **QUIET, **stat(0), f"{CPU0}/scaling_governor": "performance"}
    settled = watched(tmp_path / "a", {**laptop, **clock(2_000_000)}, {}, {})
    assert reasons_invalid([settled]) == []
    capped = watched(tmp_path / "b", {**laptop, **clock(800_000)}, {}, {})
    assert kinds(reasons_invalid([capped])) == ["frequency"]


def test_a_limit_below_the_processors_own_is_a_caution(tmp_path: Path) -> None:
    limited = {**STEADY, f"{CPU0}/scaling_max_freq": "1000000", **clock(1_000_000)}
    report = watched(tmp_path, limited, {}, {})
    assert reasons_invalid([report]) == []
    assert cautions([report]) == ["the clock is limited to 1 GHz of 1.5 GHz"]


@pytest.mark.parametrize(
    ("stolen", "invalid", "cautious"),
    [
        (0, [], []),
        (9, [], []),  # less than 0.1 s
        (12, [], ["steal: a hypervisor kept 2.9% of the CPU time"]),
        (50, ["steal: a hypervisor kept 11% of the CPU time"], []),
    ],
)
def test_steal_is_a_share_of_the_time_the_cpu_was_wanted(
    tmp_path: Path, stolen: int, invalid: list[str], cautious: list[str]
) -> None:
    until_now = {**STEADY, **stat(0, stolen=500)}
    after = stat(400, idle=10_000, stolen=500 + stolen)
    report = watched(tmp_path, until_now, stat(25, stolen=500), after=after)
    assert reasons_invalid([report]) == invalid
    assert cautions([report]) == cautious


def test_steal_is_judged_over_all_launches_of_a_case(tmp_path: Path) -> None:
    bad = watched(tmp_path / "a", STEADY, {}, after=stat(100, stolen=12))
    good = [watched(tmp_path / f"{n}", STEADY, {}, after=stat(100)) for n in range(4)]
    assert kinds(reasons_invalid([bad])) == ["steal"]
    assert reasons_invalid([bad, *good]) == []
    assert cautions([bad, *good]) == ["steal: a hypervisor kept 2.3% of the CPU time"]


@pytest.mark.parametrize(
    ("kibibytes", "faults", "invalid", "cautious"),
    [
        (0, 0, [], []),
        (0, 3, [], []),  # a file's pages, not swap
        (256, 0, [], ["swap: the machine moved 0.25 MiB"]),
        (256, 3, ["swap: the machine moved 0.25 MiB"], []),
        (2048, 0, ["swap: the machine moved 2 MiB"], []),
    ],
)
def test_swapping_is_invalid_where_it_is_much_or_this_process_waited(
    tmp_path: Path, kibibytes: int, faults: int, invalid: list[str], cautious: list[str]
) -> None:
    swapped = {
        "proc/vmstat": f"pswpin 7\npswpout {7 + kibibytes * 1024 // PAGESIZE}",
        "proc/self/stat": f"42 (python) R 1 1 1 0 -1 4194304 99 0 {faults} 0 3 4",
    }
    report = watched(tmp_path, STEADY, {}, after=swapped)
    assert reasons_invalid([report]) == invalid
    assert cautions([report]) == cautious


def test_waiting_for_a_cpu_is_a_caution(tmp_path: Path) -> None:
    report = watched(tmp_path, STEADY, {}, after={"proc/self/schedstat": f"5 {10**12} 21"})
    assert reasons_invalid([report]) == []
    (caution,) = cautions([report])
    assert caution.startswith("something else runs here")


def test_a_quota_that_held_the_launch_back_is_a_caution(tmp_path: Path) -> None:
    cgroup = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.stat": "throttled_usec 5"}
    used_up = {"sys/fs/cgroup/cpu.stat": f"throttled_usec {10**9}"}
    report = watched(tmp_path, {**STEADY, **cgroup}, {}, after=used_up)
    assert reasons_invalid([report]) == []
    (caution,) = cautions([report])
    assert caution.startswith("a CPU quota held a launch back for ")


def test_what_can_not_be_read_is_unknown_and_not_fine(tmp_path: Path) -> None:
    report = watched(tmp_path, {}, after={"proc/stat": ""})
    assert reasons_invalid([report]) == []
    everything = ["governor", "frequency", "temperature", "throttling", "steal", "swap"]
    assert unknowns(report) == everything
    assert describe_health([report]) == f"{', '.join(everything)}: unknown"
    assert describe_health([]) == "health: unknown"


@pytest.mark.parametrize(
    ("lost", "name"),
    [
        (f"{CPU0}/scaling_governor", "governor"),
        (f"{CPU0}/scaling_cur_freq", "frequency"),
        ("proc/vmstat", "swap"),
    ],
)
def test_one_thing_that_is_unreadable_is_named(tmp_path: Path, lost: str, name: str) -> None:
    assert unknowns(watched(tmp_path, {**STEADY, lost: ""}, {})) == [name]


def test_the_machine_is_described_by_all_its_launches(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0/temp"
    hotter = watched(tmp_path / "a", {**STEADY, zone: "60000"}, {zone: "71500"}, {zone: "65000"})
    mute = watched(tmp_path / "b", {**STEADY, f"{CPU0}/scaling_cur_freq": ""}, {})
    said = describe_health([mute, hotter])
    assert said == "governor performance; at most 72 °C; frequency: unknown"


def test_a_reason_says_how_many_launches_it_was_in(tmp_path: Path) -> None:
    low = watched(tmp_path / "a", {**STEADY, THROTTLED: "1"}, {})
    fine = watched(tmp_path / "b", STEADY, {})
    assert reasons_invalid([fine, low, fine]) == ["throttling: under-voltage (1 of 3 launches)"]
