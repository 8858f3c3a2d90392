"""How the machine is: governor, frequency, temperature, throttling, steal time, swap.

Facts only: `edgedl.runtime.sensors` reads them, `edgedl.runtime.health_verdict` judges them.
What can't be read is None, which is never the same as fine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import astuple

Sensor = TypeVar("Sensor")

# What the firmware of a Raspberry Pi tells of itself: bits 0-3 now, and 16 higher the same
# since boot. vcgencmd prints "throttled=0x50005", the kernel's file "50005": hexadecimal both.
# Where the kernel's raspberrypi-hwmon driver runs, it asks every 2 s and has the higher bits
# cleared; the file shows what it was told last. Pi 5: no file, the same bits from vcgencmd.
# Sources: raspberrypi.com/documentation/computers/os.html#get_throttled; raspberrypi/linux
# pull request 2397 and drivers/{firmware/raspberrypi,hwmon/raspberrypi-hwmon}.c.
RASPBERRY_PI_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}

# How sensors of the processor begin (thermal zones' types and hwmon names), the best first;
# others are of disks, batteries, radios.
CPU_SENSORS = ("cpu", "coretemp", "k10temp", "zenpower", "x86_pkg", "soc", "bigcore", "acpitz")


class Cpu(Struct, frozen=True, omit_defaults=True):
    """One CPU's clock as cpufreq tells it, in kHz.

    `khz` is what it runs at; on a Raspberry Pi only what it was asked to run at
    (raspberrypi/linux issue 2986), so that there the firmware's bits tell of throttling.
    `most_khz` is the limit set by a person or by cooling, `hardware_khz` the processor's own,
    `base_khz` what it keeps on all cores where it may go beyond that for a while.
    """

    number: int
    governor: str | None = None
    khz: int | None = None
    least_khz: int | None = None
    most_khz: int | None = None
    hardware_khz: int | None = None
    base_khz: int | None = None


class Ticks(Struct, frozen=True):
    """What a CPU did since boot, in ticks of 10 ms; `stolen` is what a hypervisor kept."""

    busy: int
    idle: int
    stolen: int

    def __add__(self, more: Ticks) -> Ticks:
        return Ticks(self.busy + more.busy, self.idle + more.idle, self.stolen + more.stolen)

    def __sub__(self, less: Ticks) -> Ticks:
        return Ticks(self.busy - less.busy, self.idle - less.idle, self.stolen - less.stolen)


class Counters(Struct, frozen=True):
    """What only ever grows: read twice, the difference belongs to the time between.

    `ticks` are those of the CPUs this process may use, `throttle_events` an x86 processor's
    (cores and packages), `swapped_bytes` the whole machine's, in and out, `major_faults` this
    process's, `waited_ns` how long its main thread stood in line for a CPU, `held_ns` how long
    its cgroup was held back for having used up its quota.
    """

    ticks: Ticks | None = None
    throttle_events: int | None = None
    swapped_bytes: int | None = None
    major_faults: int | None = None
    waited_ns: int | None = None
    held_ns: int | None = None

    def __sub__(self, before: Counters) -> Counters:
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Counters(*(None if a is None or b is None else a - b for a, b in pairs))


class Health(Struct, frozen=True, omit_defaults=True):
    """The machine at one moment, the CPUs this process may use; None is unknown.

    `temperatures` are in degrees Celsius by sensor. `throttled` holds `RASPBERRY_PI_BITS`,
    `under_voltage` is the same board's alarm in hwmon, `cooling` whether the kernel holds the
    processor back for heat. `boosts` says whether a clock may go beyond what it can keep.
    `swap_used` is in bytes, `pressure` the percentage of the last 10 s in which something
    waited for a CPU.
    """

    cpus: tuple[Cpu, ...] = ()
    temperatures: dict[str, float] = {}
    throttled: int | None = None
    under_voltage: bool | None = None
    cooling: bool | None = None
    throttle_events: int | None = None
    boosts: bool | None = None
    swap_used: int | None = None
    pressure: float | None = None

    @property
    def temperature(self) -> float | None:
        """The processor's, the hottest of the kind of sensor that tells best."""
        return max(cpu_sensors(self.temperatures).values(), default=None)


def cpu_sensors(sensors: Mapping[str, Sensor]) -> dict[str, Sensor]:
    """The processor's own among the sensors: those of the first of `CPU_SENSORS` there is."""
    for kind in CPU_SENSORS:
        found = {name: value for name, value in sensors.items() if name.startswith(kind)}
        if found:
            return found
    return {}


class Clock(Struct, frozen=True):
    """One CPU's clock while it was busy, in kHz.

    `kept` is the least share of the highest clock seen until then that a reading had: 1 for
    one that only rose, 0.5 for one that fell to half.
    """

    readings: int
    low_khz: int
    high_khz: int
    kept: float = 1.0


class Seen(Struct, frozen=True, omit_defaults=True):
    """What any of a launch's looks saw, the first and last reading included; None is unknown.

    `bits` are a Raspberry Pi's that were set at any time, `new_bits` those that were set in
    one look and not in the one before it. `hottest` is in degrees Celsius. `clocks` are by CPU.
    """

    bits: int | None = None
    new_bits: int = 0
    under_voltage: bool | None = None
    cooling: bool | None = None
    hottest: float | None = None
    clocks: dict[int, Clock] = {}


class Report(Struct, frozen=True, omit_defaults=True):
    """A launch's health. Durations are in nanoseconds.

    `grown` is what the counters grew by in `elapsed_ns`. `looks` were taken between runs and
    cost `look_ns` together.
    """

    before: Health
    after: Health
    seen: Seen
    grown: Counters
    elapsed_ns: int
    looks: int = 0
    look_ns: int = 0
