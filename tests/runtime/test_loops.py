"""Loops: latency counts from when a request was due, and a long run stays bounded."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from edgedl.runtime.loops import Timed, arrivals, planned, time_runs
from edgedl.runtime.protocol import Case, OpenLoop
from edgedl.runtime.watch import Watch
from edgedl.runtime.windows import WINDOW_NS, Course

MS = 1_000_000


def timed(run: Any, **fields: Any) -> Timed:
    """Runs timed without a warm-up."""
    case = Case("x.bundle", "fp32", **{"warmup_s": 0.0, "least_count": 1, **fields})
    return time_runs(run, case, Watch())


def sleeper(milliseconds: float) -> Any:
    """A run that takes at least that long."""
    return lambda: time.sleep(milliseconds / 1e3)


def test_latency_counts_from_when_a_request_was_due() -> None:
    result = timed(sleeper(5), least_s=0.1, open_loop=OpenLoop(400))
    assert len(result.samples_ns) == 40
    # Request i is due at 2.5 i ms and can't be done before 5 (i + 1): the queue grows.
    for number, latency in enumerate(result.samples_ns):
        assert latency >= (2.5 * number + 5) * MS
    assert result.served is not None
    assert result.served.missed == result.served.requests == 40
    assert result.served.load(400) > 1.9


def test_a_rate_that_can_be_kept_up_with_is_kept() -> None:
    result = timed(lambda: None, least_s=0.1, open_loop=OpenLoop(200, deadline_s=60))
    assert result.served is not None
    assert (result.served.requests, result.served.served) == (20, 20)
    assert result.served.missed == 0
    assert result.served.seconds >= 0.095  # the last one is due after 19 distances
    assert result.served.busy_s < result.served.seconds


def test_a_request_is_missed_by_its_own_deadline() -> None:
    late = timed(sleeper(5), least_s=0.1, open_loop=OpenLoop(20, deadline_s=0.004))
    assert late.served is not None
    assert late.served.missed == late.served.requests == 2


def test_requests_that_were_never_begun_are_missed_and_counted() -> None:
    begin = time.perf_counter()
    result = timed(sleeper(20), least_s=0.1, most_s=0.1, open_loop=OpenLoop(400))
    assert time.perf_counter() - begin < 5
    assert result.served is not None
    assert result.served.requests == 40
    # Request i is due at 2.5 i ms and begins at 20 i: the seventh has waited for 105 ms.
    assert result.served.served == len(result.samples_ns) <= 6
    assert result.served.missed == 40


def test_a_low_rate_makes_few_requests_rather_than_last_for_minutes() -> None:
    case = Case("x.bundle", "fp32", least_s=0.5, least_count=20, most_s=20.0)
    assert planned(case, OpenLoop(0.1)) == 2
    assert planned(case, OpenLoop(10)) == 20
    assert planned(case, OpenLoop(100)) == 50


def test_requests_come_at_even_distances_or_at_random_ones_that_repeat() -> None:
    even = list(arrivals(OpenLoop(1000), 7, 5))
    assert even == [7, 7 + MS, 7 + 2 * MS, 7 + 3 * MS, 7 + 4 * MS]
    draws = [list(arrivals(OpenLoop(1000, "poisson", seed=seed), 0, 4000)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    gaps = np.array([b - a for a, b in pairwise(draws[0])])
    assert gaps.mean() == pytest.approx(MS, rel=0.1)
    assert gaps.std() == pytest.approx(MS, rel=0.1)  # an exponential's spread is its mean


def test_a_sustained_run_lasts_and_has_all_its_runs_in_windows() -> None:
    begin = time.perf_counter()
    result = timed(sleeper(1), sustained_s=0.2, most_s=0.01)
    assert time.perf_counter() - begin >= 0.2
    assert result.sustained is not None
    assert result.sustained.runs == len(result.samples_ns) > 1
    assert sum(window.runs for window in result.sustained.windows) == result.sustained.runs
    assert min(result.samples_ns) >= MS


def test_a_sustained_open_loop_has_both() -> None:
    result = timed(lambda: None, sustained_s=0.1, open_loop=OpenLoop(100))
    assert result.served is not None
    assert result.sustained is not None
    assert result.served.requests == result.sustained.runs == 10


def test_a_course_is_told_second_by_second() -> None:
    course = Course(0, Watch())
    for second in range(3):
        for number in range(10):
            now = second * WINDOW_NS + (number + 1) * WINDOW_NS // 10
            course.add(now, 100 * (second + 1) + number)
    assert course.samples() == tuple(100 * s + n for s in (1, 2, 3) for n in range(10))
    windows = course.sustained().windows
    assert [w.start_s for w in windows] == [0, 1, 2]
    assert [(w.runs, w.p50_ns, w.max_ns) for w in windows] == [
        (10, 105, 109),
        (10, 205, 209),
        (10, 305, 309),
    ]


def test_a_long_run_keeps_a_fair_part_of_its_samples() -> None:
    course = Course(0, Watch(), kept=500)
    for number in range(20_000):
        if course.add((number + 1) * WINDOW_NS // 100, number):
            course.fold()
    kept = np.array(course.samples())
    assert kept.size == np.unique(kept).size == 500
    # A uniform draw from 0 to 19,999: the mean of 500 has a standard error of 258.
    assert abs(kept.mean() - 10_000) < 4 * 258
    assert course.sustained().runs == 20_000
    assert len(course.sustained().windows) == 200


def test_windows_are_summed_up_when_there_is_time() -> None:
    course = Course(0, Watch())
    assert course.add(WINDOW_NS, 1)
    assert not course.idle(10)
    assert course.sustained().windows == ()
    assert not course.idle(10**9)
    assert len(course.sustained().windows) == 1
    assert course.idle(10**9)
