"""Loops that time single runs: what a measurement's samples come from.

Nothing but the run is within what is timed. Between runs a loop may look at the machine, sum
up a window of a sustained run, or wait for the next request.
"""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.protocol import Case, OpenLoop, Served, Sustained
from edgedl.runtime.watch import Watch
from edgedl.runtime.windows import KEPT, Course

Run = Callable[[], object]

# The last part of a wait is spun, so that a request begins when it is due: Linux may wake a
# sleeper 50 us late (man 2 prctl, PR_SET_TIMERSLACK), and switches to it after that.
SPUN_NS = 150_000


@dataclass(frozen=True)
class Timed:
    """A loop's samples in nanoseconds; see `Measurement`."""

    samples_ns: tuple[int, ...]
    served: Served | None = None
    sustained: Sustained | None = None


def time_runs(run: Run, case: Case, watch: Watch) -> Timed:
    """Time runs the way the case asks for, after a warm-up."""
    warm_up(run, case.warmup_s)
    with collection_off():
        if case.open_loop is not None:
            return open_loop(run, case, case.open_loop, watch)
        if case.sustained_s is not None:
            return sustained_loop(run, case.sustained_s, watch)
        return Timed(closed_loop(run, case, watch))


def warm_up(run: Run, seconds: float) -> None:
    """Run untimed for a while: caches, branch predictors and the clock frequency settle."""
    clock = time.perf_counter_ns
    stop = clock() + int(seconds * 1e9)
    while clock() < stop:
        run()


@contextmanager
def collection_off() -> Iterator[None]:
    """No garbage collection inside, so that none falls into a sample."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def closed_loop(run: Run, case: Case, watch: Watch) -> tuple[int, ...]:
    """Time one run after the other until both leasts are reached, or the most."""
    clock = time.perf_counter_ns
    samples = array("q")
    start = clock()
    watch.look(start)
    enough, limit = start + int(case.least_s * 1e9), start + int(case.most_s * 1e9)
    now = start
    while (now < enough or len(samples) < case.least_count) and now < limit:
        before = clock()
        run()
        now = clock()
        samples.append(now - before)
        watch.look(now)
    return tuple(samples)


def sustained_loop(run: Run, seconds: float, watch: Watch) -> Timed:
    """Time one run after the other for long, in windows."""
    clock = time.perf_counter_ns
    course = Course(clock(), watch)
    watch.look(clock())
    limit = clock() + int(seconds * 1e9)
    now = 0
    while now < limit:
        before = clock()
        run()
        now = clock()
        watch.look(now)
        if course.add(now, now - before):
            course.fold()
    return Timed(course.samples(), sustained=course.sustained())


def open_loop(run: Run, case: Case, pace: OpenLoop, watch: Watch) -> Timed:
    """Time requests from when they are due, however late the one before them was done.

    A queue that grows shows in the latencies: waiting is part of them, so that nothing is
    left out while the machine is busy (coordinated omission). What is between requests
    happens in the wait for the next one, where there is any. It ends early when a request
    has waited for `case.most_s`.
    """
    clock = time.perf_counter_ns
    count, deadline, patience = planned(case, pace), pace.deadline_ns, int(case.most_s * 1e9)
    watch.look(clock())
    start = clock() + 1_000_000
    course = Course(start, watch, KEPT if case.sustained_s else count)
    missed = busy = served = 0
    done, overdue = start, False
    for due in arrivals(pace, start, count):
        if course.idle(due - clock()) or overdue:
            watch.look(clock())
        wait_until(due)
        begun = clock()
        if begun - due > patience:
            break
        run()
        done = clock()
        overdue = course.add(done, done - due)
        missed += done - due > deadline
        busy += done - begun
        served += 1
    unserved = count - served
    seconds = max((done - start) / 1e9, served / pace.rate)
    took = Served(count, missed + unserved, unserved, seconds, busy / 1e9)
    return Timed(course.samples(), took, course.sustained() if case.sustained_s else None)


def planned(case: Case, pace: OpenLoop) -> int:
    """How many requests a launch makes: both leasts are reached, if the most allows it."""
    if case.sustained_s is not None:
        return math.ceil(pace.rate * case.sustained_s)
    least = min(case.least_count, math.ceil(pace.rate * case.most_s))
    return max(math.ceil(pace.rate * case.least_s), least)


def arrivals(pace: OpenLoop, start: int, count: int) -> Iterator[int]:
    """When each request is due, in nanoseconds of the clock `start` is from."""
    if pace.arrivals == "fixed":
        yield from (start + round(number * 1e9 / pace.rate) for number in range(count))
        return
    rng = np.random.default_rng(pace.seed)
    due = float(start)
    for _ in range(count):
        due += rng.exponential(1e9 / pace.rate)
        yield round(due)


def wait_until(due: int) -> None:
    """Sleep, and spin at the end. This process is the one that measures: it may."""
    clock = time.perf_counter_ns
    ahead = due - clock() - SPUN_NS
    if ahead > 0:
        time.sleep(ahead / 1e9)
    while clock() < due:
        pass
