"""Loops that time single runs: what a measurement's samples come from."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgedl.runtime.protocol import Case

Run = Callable[[], object]


def warm_up(run: Run, seconds: float) -> None:
    """Run untimed for a while: caches, branch predictors and the clock frequency settle."""
    clock = time.perf_counter_ns
    stop = clock() + int(seconds * 1e9)
    while clock() < stop:
        run()


def closed_loop(run: Run, case: Case, look: Callable[[int], None]) -> tuple[int, ...]:
    """Time one run after the other until both leasts are reached, or the most.

    Args:
        run: What is timed.
        case: For how long.
        look: Told the time between runs; see `edgedl.runtime.watch`.

    Returns:
        Nanoseconds of each run, in order.
    """
    clock = time.perf_counter_ns
    samples: list[int] = []
    with collection_off():
        start = clock()
        look(start)
        enough, limit = start + int(case.least_s * 1e9), start + int(case.most_s * 1e9)
        now = start
        while (now < enough or len(samples) < case.least_count) and now < limit:
            before = clock()
            run()
            now = clock()
            samples.append(now - before)
            look(now)
    return tuple(samples)


@contextmanager
def collection_off() -> Iterator[None]:
    """No garbage collection inside, so that none falls into a sample."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
