"""Statistics of timings, and when there are too few of them to say anything."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgedl.bench.stats import (
    launches_to_tell,
    least_samples,
    median,
    median_interval,
    paired_ratio,
    percentile,
    ratio_through,
    t_975,
    unpaired_ratio,
)

Floats = NDArray[np.float64]


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


def _two_groups(rng: np.random.Generator, count: int) -> Floats:
    return np.where(rng.random(count) < 0.3, 0.3, -0.3 * 0.3 / 0.7)


SPREADS = {
    "lognormal": lambda rng, count: rng.normal(0, 0.05, count),
    "heavy tails": lambda rng, count: 0.03 * rng.standard_t(3, count),
    "two groups": _two_groups,
    "only slower": lambda rng, count: rng.exponential(0.05, count) - 0.05,
}


@pytest.mark.parametrize(
    ("spread", "count", "least"),
    [("heavy tails", 3, 0.94), ("heavy tails", 5, 0.94), ("heavy tails", 20, 0.94),
     ("two groups", 10, 0.92), ("two groups", 20, 0.93),
     ("only slower", 5, 0.87), ("only slower", 20, 0.91)],
)  # fmt: skip
def test_an_interval_holds_the_truth_whatever_launches_differ_by(
    spread: str, count: int, least: float
) -> None:
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(2000):
        centres = 1e6 * np.exp(SPREADS[spread](rng, count))
        interval = median_interval([[round(centre)] for centre in centres])
        assert interval is not None
        held += interval.low <= 1e6 <= interval.high
    assert least <= held / 2000 <= 0.985


def test_one_launch_says_nothing_about_the_next() -> None:
    assert median_interval(launches_around(1000)) is None


def test_what_slows_a_whole_round_down_drops_out_of_a_ratio() -> None:
    weather = [1.0, 1.5, 0.8, 2.0]
    ratio = paired_ratio([110 * w for w in weather], [100 * w for w in weather])
    assert ratio is not None
    assert (ratio.value, ratio.verdict) == (pytest.approx(1.1), "slower")
    assert ratio.high - ratio.low < 1e-9


def test_only_rounds_with_both_are_compared() -> None:
    ratio = paired_ratio([None, 50, 55, 45], [999, 100, 110, None])
    assert ratio is not None
    assert (ratio.value, ratio.verdict) == (pytest.approx(0.5), "faster")
    assert paired_ratio([50, None, None], [100, 110, 90]) is None


def test_a_ratio_that_may_be_either_is_inconclusive() -> None:
    ratio = paired_ratio([100, 110, 90], [105, 95, 100])
    assert ratio is not None
    assert ratio.verdict == "inconclusive"
    assert ratio.reach == max(ratio.high, 1 / ratio.low) > ratio.distance


@pytest.mark.parametrize("count", [3, 10])
def test_two_launches_of_one_file_are_told_apart_in_5_of_100_trials(count: int) -> None:
    rng = np.random.default_rng(count)
    apart = 0
    for _ in range(1000):
        weather = rng.normal(0, 0.3, count)
        ours, theirs = np.exp(weather + rng.normal(0, 0.03, (2, count)))
        ratio = paired_ratio(ours.tolist(), theirs.tolist())
        assert ratio is not None
        apart += ratio.verdict != "inconclusive"
    assert 0.03 <= apart / 1000 <= 0.07


@pytest.mark.parametrize("count", [3, 8])
def test_cases_that_share_no_round_are_compared_through_a_third(count: int) -> None:
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(1000):
        sides = []
        for truth in (0.8, 0.5):
            ours, third = np.exp(rng.normal(0, 0.03, (2, count)))
            ratio = paired_ratio((truth * ours).tolist(), third.tolist())
            assert ratio is not None
            sides.append(ratio)
        through = ratio_through(*sides)
        assert through.low < through.value < through.high
        held += through.low <= 0.8 / 0.5 <= through.high
    assert held / 1000 >= 0.94


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.706), (4, 2.776), (4.5, 2.661), (20, 2.086), (30, 2.042), (1e9, 1.96)]
)
def test_students_t_between_and_beyond_the_table(degrees: float, t: float) -> None:
    assert t - 0.001 <= t_975(degrees) <= 1.01 * t


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (4, 12), (30, 30)])
def test_runs_of_other_times_are_compared_with_95_percent(ours: int, theirs: int) -> None:
    rng = np.random.default_rng(ours)
    held = 0
    for _ in range(2000):
        a = np.exp(rng.normal(0, 0.02, ours))
        b = np.exp(rng.normal(0, 0.06, theirs)) * 2
        ratio = unpaired_ratio(a.tolist(), b.tolist())
        assert ratio is not None
        held += ratio.low <= 0.5 <= ratio.high
    assert 0.94 <= held / 2000 <= 0.98
    assert unpaired_ratio([1.0], [1.0, 2.0]) is None


def test_launches_that_do_not_vary_give_a_ratio_without_width() -> None:
    ratio = unpaired_ratio([10, 10, 10], [20, 20])
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    for same in (unpaired_ratio([7, 7, 7], [7, 7]), paired_ratio([7, 9, 3], [7, 9, 3])):
        assert same is not None
        assert same.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("factor", "spread", "twin"),
    [(1.05, 0.04, False), (1.05, 0.04, True), (1.1, 0.03, False), (1.02, 0.03, True)],
)
def test_the_launches_asked_for_tell_a_difference_in_4_of_5_attempts(
    factor: float, spread: float, twin: bool
) -> None:
    count = launches_to_tell(factor, spread, twin)
    rng = np.random.default_rng(count)
    told = 0
    for _ in range(1000):
        a, again, b = np.exp(rng.normal(0, spread / 2**0.5, (3, count))) * [[1], [1], [factor]]
        ratio = paired_ratio(b.tolist(), a.tolist())
        noise = paired_ratio(again.tolist(), a.tolist())
        assert ratio is not None
        assert noise is not None
        told += ratio.verdict == "slower" and (not twin or ratio.value > noise.reach)
    assert 0.75 <= told / 1000 <= 0.9
