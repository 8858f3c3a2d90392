"""Reading the machine's health from files, and on a Raspberry Pi from a program.

Everything is read below a root, which a test replaces; what can't be read is None.

Sources: the kernel's admin-guide/pm/cpufreq.rst, ABI/testing/sysfs-class-thermal and
sysfs-class-hwmon, filesystems/proc.rst, and those at the tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from mmap import PAGESIZE
from pathlib import Path

from edgedl.runtime.health import Counters, Cpu, Health, Ticks

# The Pi 5's node is called soc@107c000000.
THROTTLED_FILES = ("soc*/soc*:firmware/get_throttled", "soc*:firmware/get_throttled")
VCGENCMD = ("usr/bin/vcgencmd", "bin/vcgencmd", "opt/vc/bin/vcgencmd")
VCGENCMD_LIMIT_S = 2.0

# How cooling devices begin that hold a processor back: drivers/thermal/{cpufreq,cpuidle}_cooling.c,
# drivers/acpi/processor_thermal.c. The others are fans, which cost no time.
CPU_COOLERS = ("cpufreq-", "thermal-cpufreq-", "idle-", "thermal-idle-", "Processor")

# "cpu" lines of /proc/stat, in ticks of 10 ms: user nice system idle iowait irq softirq steal.
IDLE, STEAL, FIELDS = (3, 4), 7, 8


def read_health(root: Path = Path("/"), numbers: Iterable[int] | None = None) -> Health:
    """Read everything. May start vcgencmd: not for while something is timed.

    Args:
        root: Where /sys, /proc and /usr are found; another tree in tests.
        numbers: The CPUs to read; those that this process may use when left out.
    """
    return Health(
        cpus=tuple(read_cpu(root, n) for n in (usable_numbers() if numbers is None else numbers)),
        temperatures=read_temperatures(temperature_files(root)),
        throttled=read_throttled(throttled_file(root), vcgencmd(root)),
        under_voltage=read_flag(under_voltage_file(root)),
        cooling=read_cooling(cooling_files(root)),
        throttle_events=_throttle_events(root),
        boosts=_boosts(root),
        swap_used=_swap_used(root),
        pressure=_pressure(root),
    )


def usable_numbers() -> tuple[int, ...]:
    """The CPUs that this process may use, by the kernel's numbers."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpu_directory(root: Path, number: int) -> Path:
    """Where sysfs tells of one CPU."""
    return root / f"sys/devices/system/cpu/cpu{number}"


def read_cpu(root: Path, number: int) -> Cpu:
    """One CPU's governor and clock."""
    at = cpu_directory(root, number) / "cpufreq"
    return Cpu(
        number,
        text(at / "scaling_governor") or None,
        khz=whole(at / "scaling_cur_freq"),
        least_khz=whole(at / "scaling_min_freq"),
        most_khz=whole(at / "scaling_max_freq"),
        hardware_khz=whole(at / "cpuinfo_max_freq"),
        base_khz=whole(at / "base_frequency"),
    )


def temperature_files(root: Path) -> dict[str, Path]:
    """Every sensor by its name, those with the same name numbered: `cpu-thermal`, `coretemp`.

    Both of the kernel's interfaces give thousandths of a degree.
    """
    found: dict[str, Path] = {}
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    named = [(text(zone / "type"), zone / "temp") for zone in zones]
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        named += [(text(chip / "name"), file) for file in sorted(chip.glob("temp*_input"))]
    for name, file in named:
        taken = sum(key.split("#")[0] == name for key in found)
        found[f"{name}#{taken + 1}" if taken else name] = file
    return found


def read_temperatures(files: Mapping[str, Path]) -> dict[str, float]:
    """Degrees Celsius by sensor; one that doesn't answer is left out."""
    read = {name: whole(file) for name, file in files.items()}
    return {name: value / 1000 for name, value in read.items() if value is not None}


def throttled_file(root: Path) -> Path | None:
    """The kernel's file with a Raspberry Pi's bits, where there is one."""
    at = root / "sys/devices/platform"
    return next((file for pattern in THROTTLED_FILES for file in at.glob(pattern)), None)


def vcgencmd(root: Path) -> Path | None:
    """The program that asks a Raspberry Pi's firmware, where there is one."""
    return next((root / name for name in VCGENCMD if (root / name).is_file()), None)


def read_throttled(file: Path | None, program: Path | None = None) -> int | None:
    """A Raspberry Pi's bits from the kernel's file, or else from its program."""
    said = text(file) if file is not None else ""
    if not said and program is not None:
        key, _, said = _ask(program).partition("=")
        said = said if key == "throttled" else ""  # or error=1
    try:
        return int(said, 16)
    except ValueError:
        return None


def _ask(program: Path) -> str:
    import subprocess  # costs more than all the rest here, and few machines need it

    try:
        done = subprocess.run(
            [program, "get_throttled"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VCGENCMD_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def under_voltage_file(root: Path) -> Path | None:
    """A Raspberry Pi's alarm: whether the supply dropped in the 2 s before the last poll."""
    for chip in (root / "sys/class/hwmon").glob("hwmon*"):
        if text(chip / "name") == "rpi_volt":
            return chip / "in0_lcrit_alarm"
    return None


def cooling_files(root: Path) -> tuple[Path, ...]:
    """The states of the cooling devices that hold a processor back."""
    devices = sorted((root / "sys/class/thermal").glob("cooling_device*"))
    return tuple(d / "cur_state" for d in devices if text(d / "type").startswith(CPU_COOLERS))


def read_cooling(files: Iterable[Path]) -> bool | None:
    """Whether any of them is at work; None where none tells."""
    states = [state for file in files if (state := whole(file)) is not None]
    return any(state > 0 for state in states) if states else None


def read_flag(file: Path | None) -> bool | None:
    """A file that holds 0 or 1."""
    value = whole(file) if file is not None else None
    return None if value is None else bool(value)


def read_counters(root: Path = Path("/"), numbers: Iterable[int] | None = None) -> Counters:
    """What grows while something runs: steal, throttling events, swap, faults, waiting."""
    ticks = read_ticks(root)
    own = [ticks[n] for n in (usable_numbers() if numbers is None else numbers) if n in ticks]
    moved = [_field(root / "proc/vmstat", name) for name in ("pswpin", "pswpout")]
    # Behind the program's name, which may hold blanks and parentheses: state is field 3, the
    # process's major faults are field 12 (proc.rst, table 1-4).
    fields = text(root / "proc/self/stat").rpartition(")")[2].split()
    waited = text(root / "proc/self/schedstat").split()
    return Counters(
        sum(own, Ticks(0, 0, 0)) if own else None,
        _throttle_events(root),
        swapped_bytes=None if None in moved else sum(n for n in moved if n) * PAGESIZE,
        major_faults=_number(fields[9]) if len(fields) > 9 else None,
        waited_ns=_number(waited[1]) if len(waited) > 1 else None,
        held_ns=_held_ns(root),
    )


def read_ticks(root: Path) -> dict[int, Ticks]:
    """Every CPU's ticks; none where the system doesn't tell."""
    found = {}
    for line in text(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu"):
            break  # what follows are interrupts, thousands of them
        values = [_number(field) for field in fields[:FIELDS]]
        ticks = [value for value in values if value is not None]
        if name[3:].isdigit() and len(ticks) == FIELDS:
            idle = sum(ticks[i] for i in IDLE)
            found[int(name[3:])] = Ticks(sum(ticks[:STEAL]) - idle, idle, ticks[STEAL])
    return found


def _throttle_events(root: Path) -> int | None:
    """How often an x86 processor's cores and packages slowed down for heat."""
    at = root / "sys/devices/system/cpu"
    names = ("core_throttle_count", "package_throttle_count")
    files = [f for name in names for f in at.glob(f"cpu[0-9]*/thermal_throttle/{name}")]
    counts = [count for file in files if (count := whole(file)) is not None]
    return sum(counts) if counts else None


def _held_ns(root: Path) -> int | None:
    """How long this process's cgroup was held back; cgroup-v2.rst and sched-bwc.rst.

    In a container the path may be the host's, with the own cgroup mounted as the root.
    """
    fs = root / "sys/fs/cgroup"
    for line in text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        old = "cpu" in controllers.split(",")
        if not old and number != "0":
            continue
        mount, name, unit_ns = (
            (fs / "cpu", "throttled_time", 1) if old else (fs, "throttled_usec", 1000)
        )
        for at in (mount / path.lstrip("/"), mount):
            held = _field(at / "cpu.stat", name)
            if held is not None:
                return held * unit_ns
    return None


def _boosts(root: Path) -> bool | None:
    at = root / "sys/devices/system/cpu"
    no_turbo = read_flag(at / "intel_pstate/no_turbo")
    boost = read_flag(at / "cpufreq/boost") if no_turbo is None else not no_turbo
    driver = text(at / "cpu0/cpufreq/scaling_driver")
    if boost is None and driver:
        return "pstate" in driver  # amd-pstate has had no such file for long
    return boost


def _swap_used(root: Path) -> int | None:
    total, free = (_field(root / "proc/meminfo", name) for name in ("SwapTotal:", "SwapFree:"))
    return None if total is None or free is None else (total - free) * 1024


def _pressure(root: Path) -> float | None:
    words = text(root / "proc/pressure/cpu").split()  # some avg10=1.55 avg60=...
    try:
        return float(words[1].removeprefix("avg10="))
    except (IndexError, ValueError):
        return None


def _field(file: Path, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    for line in text(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return _number(words[1])
    return None


def whole(file: Path) -> int | None:
    """A file's one whole number."""
    return _number(text(file))


def _number(said: str) -> int | None:
    try:
        return int(said)
    except ValueError:
        return None  # "<unsupported>", or nothing


def text(file: Path) -> str:
    """A file's text; nothing where it can't be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
