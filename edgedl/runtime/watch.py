"""Watching the machine's health while something is measured: before, meanwhile and after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from operator import or_
from pathlib import Path

from msgspec import Struct

from edgedl.runtime.health import Clock, Health, Report, Ticks, cpu_sensors
from edgedl.runtime.sensors import (
    cooling_files,
    cpu_directory,
    read_cooling,
    read_counters,
    read_flag,
    read_health,
    read_temperatures,
    read_throttled,
    read_ticks,
    temperature_files,
    throttled_file,
    under_voltage_file,
    usable_numbers,
    whole,
)

INTERVAL_NS = 250_000_000
# The clock of an idle CPU says nothing: one that was busy for less than this share of the time
# since the last look isn't read. Nor one that was looked at a moment ago: a tick is 10 ms.
BUSY_SHARE = 0.9
LEAST_TICKS = 8


class Glance(Struct, frozen=True):
    """What one look saw; as in `Health`, and the kHz of busy CPUs."""

    throttled: int | None
    under_voltage: bool | None
    cooling: bool | None
    temperature: float | None
    clocks: dict[int, int]


class Watch:
    """Reads everything when made, a little at every look, everything again for the report.

        watch = Watch()          # before warm-up: may start vcgencmd
        watch.look(now_ns)       # between runs, never within what is timed; mostly does nothing
        report = watch.report()

    A look reads files only. The first one marks the beginning of the steady state.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        numbers: Iterable[int] | None = None,
        interval_ns: int = INTERVAL_NS,
    ) -> None:
        self._root = root
        self._interval_ns = interval_ns
        self._numbers = usable_numbers() if numbers is None else tuple(numbers)
        self._throttled = throttled_file(root)
        self._alarm = under_voltage_file(root)
        self._coolers = cooling_files(root)
        self._sensors = cpu_sensors(temperature_files(root))
        at = {n: cpu_directory(root, n) / "cpufreq/scaling_cur_freq" for n in self._numbers}
        self._clocks = {number: file for number, file in at.items() if file.is_file()}
        self._glances: list[Glance] = []
        self._look_ns = 0
        self._due_ns = 0
        self._before = read_health(root, self._numbers)
        self._counters = read_counters(root, self._numbers)
        self._ticks = read_ticks(root)
        self._begin_ns = time.perf_counter_ns()

    def look(self, now_ns: int) -> None:
        """Look, if it is time again.

        Args:
            now_ns: time.perf_counter_ns(), which the caller has at hand.
        """
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + self._interval_ns
            self._glances.append(self._glance())
            self._look_ns += time.perf_counter_ns() - now_ns

    @property
    def latest(self) -> Glance | None:
        """What the last look saw; None before the first."""
        return self._glances[-1] if self._glances else None

    def _glance(self) -> Glance:
        temperatures = read_temperatures(self._sensors)
        return Glance(
            read_throttled(self._throttled),
            read_flag(self._alarm),
            read_cooling(self._coolers),
            max(temperatures.values(), default=None),
            self._busy_clocks() if self._clocks else {},
        )

    def _busy_clocks(self) -> dict[int, int]:
        """The clock of every CPU that was busy since the last look."""
        ticks = read_ticks(self._root)
        busy = busy_cpus(self._ticks, ticks)
        self._ticks = ticks
        read = {number: whole(self._clocks[number]) for number in busy if number in self._clocks}
        return {number: khz for number, khz in read.items() if khz}

    def report(self) -> Report:
        """What was seen; reads everything once more."""
        elapsed_ns = time.perf_counter_ns() - self._begin_ns
        glances = (*self._glances, self._glance())
        grown = read_counters(self._root, self._numbers) - self._counters
        after = read_health(self._root, self._numbers)
        seen = (_as_glance(self._before), *glances, _as_glance(after))
        bits = [glance.throttled for glance in seen if glance.throttled is not None]
        return Report(
            before=self._before,
            after=after,
            grown=grown,
            elapsed_ns=elapsed_ns,
            looks=len(self._glances),
            look_ns=self._look_ns,
            bits=reduce(or_, bits) if bits else None,
            new_bits=reduce(or_, (b & ~a for a, b in pairwise(bits)), 0) if bits else None,
            under_voltage=_ever(glance.under_voltage for glance in seen),
            cooling=_ever(glance.cooling for glance in seen),
            hottest=max((g.temperature for g in seen if g.temperature is not None), default=None),
            clocks=follow_clocks([glance.clocks for glance in glances]),
        )


def _as_glance(health: Health) -> Glance:
    return Glance(
        health.throttled, health.under_voltage, health.cooling, health.temperature, clocks={}
    )


def _ever(flags: Iterable[bool | None]) -> bool | None:
    """Whether any was set; None where none is known."""
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None


def busy_cpus(before: Mapping[int, Ticks], after: Mapping[int, Ticks]) -> list[int]:
    """The CPUs that were busy between two readings that are far enough apart."""
    found = []
    for number in after.keys() & before.keys():
        spent = after[number] - before[number]
        total = spent.busy + spent.idle + spent.stolen
        if total >= LEAST_TICKS and spent.busy + spent.stolen >= BUSY_SHARE * total:
            found.append(number)
    return sorted(found)


def follow_clocks(glances: Sequence[Mapping[int, int]]) -> tuple[Clock, ...]:
    """Every CPU's readings in the order they were taken, as one `Clock` each."""
    numbers = sorted({number for clocks in glances for number in clocks})
    return tuple(_clock(n, [clocks[n] for clocks in glances if n in clocks]) for n in numbers)


def _clock(cpu: int, khz: Sequence[int]) -> Clock:
    highest = accumulate(khz, max)
    kept = min(now / high for now, high in zip(khz, highest, strict=True))
    return Clock(cpu, len(khz), min(khz), max(khz), round(kept, 3))
