"""The paired test of a budget: its bound, its coverage, and sets that are too small for it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from edgedl.runtime.manifest import Quality, Tolerance
from edgedl.runtime.paired import can_prove, drop_bound, over_bound, score_bound, shortage


def accuracy(worse: int, better: int, samples: int) -> Quality:
    """A variant of a source that is right on nine in ten."""
    value = 0.9 - (worse - better) / samples
    return Quality("accuracy", value, 0.9, 0.95, samples, worse, better)


def test_the_bound_is_tangos() -> None:
    assert score_bound(0, 0, 500) == pytest.approx(1.6449**2 / (500 + 1.6449**2))
    # With none better the score's variance is n d (1 - d), and at the bound the score is -z.
    bound = score_bound(4, 0, 1000)
    assert (4 - 1000 * bound) ** 2 == pytest.approx(
        1.6449**2 * 1000 * bound * (1 - bound), rel=1e-6
    )


def test_many_gains_and_losses_are_less_certain_than_few() -> None:
    few, many = score_bound(1, 0, 1000), score_bound(50, 49, 1000)
    assert 0.001 < few < 0.007
    assert 0.016 < many < 0.020  # 1 point in 1000, give or take 1.645 * sqrt(99) of them


@cache
def _bound(worse: int, better: int, samples: int) -> float:
    return score_bound(worse, better, samples)


@pytest.mark.parametrize("samples", [100, 1000, 10_000])
@pytest.mark.parametrize(
    ("lost", "gained"), [(1, 0), (3, 0), (5, 0), (10, 0), (3, 3), (5, 1), (20, 15), (2, 8)]
)
def test_the_bound_holds_the_true_drop_in_95_of_100_trials(
    samples: int, lost: int, gained: int
) -> None:
    """Lost and gained are expected counts. Counts are whole, so no bound is at 95 exactly."""
    rng = np.random.default_rng(samples + 100 * lost + gained)
    shares = np.array([lost, gained, samples - lost - gained]) / samples
    trials = rng.multinomial(samples, shares, size=3000)
    truth = shares[0] - shares[1]
    held = [_bound(int(w), int(b), samples) >= truth for w, b, _ in trials]
    assert np.mean(held) >= 0.93


def test_a_set_that_can_prove_nothing_says_so() -> None:
    assert not can_prove(accuracy(0, 0, 500), 0.5)
    assert can_prove(accuracy(0, 0, 600), 0.5)
    assert shortage(accuracy(0, 0, 500), 0.5) == (
        "500 labels can't tell 0.5 points; the observed drop is used"
    )
    assert shortage(accuracy(9, 0, 600), 0.5) == ""
    assert over_bound(accuracy(2, 0, 500), Tolerance(max_drop=0.5)) == ""


def test_a_drop_within_the_budget_must_be_shown_to_be() -> None:
    budget = Tolerance(min_sqnr_db=15, max_drop=0.5)
    assert over_bound(accuracy(30, 0, 10_000), budget) == ""
    reason = over_bound(accuracy(245, 200, 10_000), budget)
    assert reason.startswith(
        "0.45 points of accuracy lost on 10000 samples (245 worse, 200 better)"
    )
    assert "at most 0.5 is allowed" in reason
    assert over_bound(accuracy(245, 200, 10_000), Tolerance(atol=1e-5)) == ""
    assert over_bound(None, budget) == ""


def nats(mean: float, spread: float | None, samples: int) -> Quality:
    return Quality("nats", 2.0 + mean, 2.0, 0.9, samples, spread=spread)


def test_nats_are_bounded_by_the_samples_differences() -> None:
    # 0.01 nats more, 0.05 between sequences, 5 of them: t(4) = 2.132.
    expected = 100 * (0.01 + 2.132 * 0.05 / math.sqrt(5)) / 2.0
    assert drop_bound(nats(0.01, 0.05, 5)) == pytest.approx(expected)
    assert drop_bound(nats(0.01, None, 5)) is None
    assert "0.50 % more nats lost on 5" in over_bound(nats(0.01, 0.05, 5), Tolerance(max_drop=1))
    assert over_bound(nats(0.01, 0.05, 500), Tolerance(max_drop=1)) == ""
    assert shortage(nats(0.01, None, 1), 1.0).startswith("1 labels can't tell 1 points")


@pytest.mark.parametrize("samples", [3, 10, 100])
def test_the_bound_of_nats_holds_in_95_of_100_trials(samples: int) -> None:
    rng = np.random.default_rng(samples)
    held = 0
    for differences in rng.normal(0.02, 0.1, (2000, samples)):
        bound = drop_bound(nats(float(differences.mean()), float(differences.std(ddof=1)), samples))
        assert bound is not None
        held += bound >= 100 * 0.02 / 2.0
    assert 0.935 <= held / 2000 <= 0.97


def test_agreement_has_no_bound() -> None:
    quality = Quality("agreement", 0.98, 1.0, 0.98, 50)
    assert drop_bound(quality) is None
    assert shortage(quality, 0.5) == ""
    assert over_bound(quality, Tolerance(max_drop=0.5)) == ""
