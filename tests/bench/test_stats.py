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
    assert percentile([list(range(40)), list(range(40, 64))], 0.9) == pytest.approx(56.7)


def test_a_percentile_is_over_all_launches() -> None:
    assert percentile([[10] * 10, [20] * 10], 0.5) == 15
    assert median([[1, 2, 3], [100]]) == 2.5


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


def test_an_interval_is_the_same_every_time() -> None:
    launches = launches_around(1000, 1010)
    assert median_interval(launches, seed=1) == median_interval(launches, seed=1)


def test_one_launch_says_nothing_about_the_next() -> None:
    assert median_interval(launches_around(1000)) is None
