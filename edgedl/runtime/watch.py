"""Watching the machine's health while something is measured: before, meanwhile and after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from edgedl.runtime.health import Clock, Health, Report, Seen, Ticks, cpu_sensors
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
        self._looks = self._look_ns = self._due_ns = 0
        self._before = read_health(root, self._numbers)
        self._seen, self._bits = Seen(), self._before.throttled
        self._latest: Glance | None = None
        self._take(_as_glance(self._before))
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
            self._latest = self._take(self._glance())
            self._looks += 1
            self._look_ns += time.perf_counter_ns() - now_ns

    @property
    def latest(self) -> Glance | None:
        """What the last look saw; None before the first."""
        return self._latest

    def _take(self, glance: Glance) -> Glance:
        """Add it to what was seen: a launch may last for days, and keeps no list."""
        self._seen = fold(self._seen, glance, self._bits)
        self._bits = self._bits if glance.throttled is None else glance.throttled
        return glance

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
        self._take(self._glance())
        grown = read_counters(self._root, self._numbers) - self._counters
        after = read_health(self._root, self._numbers)
        self._take(_as_glance(after))
        return Report(
            self._before,
            after,
            self._seen,
            grown,
            elapsed_ns=elapsed_ns,
            looks=self._looks,
            look_ns=self._look_ns,
        )


def fold(seen: Seen, glance: Glance, bits: int | None) -> Seen:
    """What was seen until now and in one more look, with the bits that were known before it."""
    now = glance.throttled
    temperatures = [t for t in (seen.hottest, glance.temperature) if t is not None]
    clocks = {number: _add(seen.clocks.get(number), khz) for number, khz in glance.clocks.items()}
    return Seen(
        bits=seen.bits if now is None else (seen.bits or 0) | now,
        new_bits=seen.new_bits | (0 if now is None or bits is None else now & ~bits),
        under_voltage=_ever(seen.under_voltage, glance.under_voltage),
        cooling=_ever(seen.cooling, glance.cooling),
        hottest=max(temperatures, default=None),
        clocks={**seen.clocks, **clocks},
    )


def _ever(before: bool | None, now: bool | None) -> bool | None:
    """Whether it was set at any time; None where that was never known."""
    return before if now is None else before or now


def _add(clock: Clock | None, khz: int) -> Clock:
    """A clock with one more reading."""
    if clock is None:
        return Clock(1, khz, khz)
    high = max(clock.high_khz, khz)
    kept = min(clock.kept, round(khz / high, 3))
    return Clock(clock.readings + 1, min(clock.low_khz, khz), high, kept)


def _as_glance(health: Health) -> Glance:
    return Glance(
        health.throttled, health.under_voltage, health.cooling, health.temperature, clocks={}
    )


def busy_cpus(before: Mapping[int, Ticks], after: Mapping[int, Ticks]) -> list[int]:
    """The CPUs that were busy between two readings that are far enough apart."""
    found = []
    for number in after.keys() & before.keys():
        spent = after[number] - before[number]
        total = spent.busy + spent.idle + spent.stolen
        if total >= LEAST_TICKS and spent.busy + spent.stolen >= BUSY_SHARE * total:
            found.append(number)
    return sorted(found)
