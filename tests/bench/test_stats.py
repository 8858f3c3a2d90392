"""Statistics of timings, and when there are too few of them to say anything."""

from __future__ import annotations

import numpy as np
import pytest

from edgedl.bench.stats import least_samples, median, median_interval, percentile


@pytest.mark.parametrize(
    ("quantile", "count"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)]
)
def test_a_percentile_needs_two_samples_beyond_it(quantile: float, count: int) -> None:
    assert least_samples(quantile) == count


def test_a_percentile_of_too_few_samples_is_not_given() -> None:
    assert percentile([list(range(40)), list(range(23))], 0.9) is None
    assert percentile([list(range(32)), list(range(32, 64))], 0.9) == 57


def test_a_percentile_is_over_all_launches() -> None:
    assert percentile([[10] * 10, [20] * 10], 0.5) == 15


def test_a_launch_weighs_the_same_however_many_samples_it_has() -> None:
    fast, slow = [10] * 500, [20] * 250
    assert median([fast, fast, slow, slow, slow]) == 20
    assert percentile([[10] * 990, [30] * 10], 0.9) == 30


def launches_around(*centres: float) -> list[list[int]]:
    """Launches of 50 samples, each around its own centre."""
    rng = np.random.default_rng(0)
    return [rng.normal(centre, 5, 50).astype(int).tolist() for centre in centres]


def test_an_interval_holds_the_median() -> None:
    launches = launches_around(1000, 1000, 1000, 1000, 1000)
    interval = median_interval(launches)
    assert interval is not None
    assert interval.low <= median(launches) <= interval.high
    assert interval.high - interval.low < 10


def test_launches_that_differ_widen_the_interval() -> None:
    alike = median_interval(launches_around(1000, 1000, 1000, 1000, 1000))
    apart = median_interval(launches_around(900, 950, 1000, 1050, 1100))
    assert alike is not None
    assert apart is not None
    assert apart.high - apart.low > 5 * (alike.high - alike.low)


@pytest.mark.parametrize("count", [2, 3, 5, 25])
def test_an_interval_holds_the_truth_in_95_of_100_trials(count: int) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        centres = 1e6 * np.exp(rng.normal(0, 0.05, count))
        interval = median_interval([[int(centre)] for centre in centres])
        assert interval is not None
        held += interval.low <= 1e6 <= interval.high
    assert 0.93 <= held / 2000 <= 0.97


def test_one_launch_says_nothing_about_the_next() -> None:
    assert median_interval(launches_around(1000)) is None
