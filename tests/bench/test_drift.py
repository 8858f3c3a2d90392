"""A sustained run's drift: shown where it is there, and not where it isn't."""

from __future__ import annotations

import numpy as np
import pytest

from edgedl.bench.drift import curve, drift, tabulate_course
from edgedl.bench.plan import Row
from edgedl.runtime.protocol import Case, Sustained, Window
from tests.bench.measurements import measurement


def windows(medians: list[float], **fields: float) -> tuple[Window, ...]:
    """A window a second."""
    return tuple(
        Window(float(second), 100, round(p50), round(p50), round(p50), **fields)
        for second, p50 in enumerate(medians)
    )


def sustained(medians: list[float], **fields: float) -> Row:
    """A row of one sustained run."""
    case = Case("x.bundle", "a", sustained_s=float(len(medians)))
    course = Sustained(100 * len(medians), windows(medians, **fields))
    return Row(case, (measurement(case, sustained=course),))


def noise(count: int, seed: int, spread: float = 0.02) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, spread, count))


def test_a_run_that_slows_down_drifts() -> None:
    ratio = drift(windows(list(20_000 * np.linspace(1, 1.2, 100) * noise(100, 1))))
    assert ratio is not None
    assert ratio.verdict == "slower"
    assert ratio.low < 1.129 < ratio.high  # the middles of the first and the last third


def test_a_run_that_stays_the_same_rarely_seems_to_drift() -> None:
    verdicts = [
        ratio.verdict
        for seed in range(200)
        if (ratio := drift(windows(list(20_000 * noise(60, seed)))))
    ]
    assert len(verdicts) == 200
    # 5 % of them at most in the long run: 10 of 200, with a standard error of 3.
    assert sum(verdict != "inconclusive" for verdict in verdicts) <= 10 + 3 * 3


def test_a_short_run_tells_nothing() -> None:
    assert drift(windows([20_000.0] * 59)) is None
    table = tabulate_course([sustained([20_000.0] * 59)])
    assert table.rows[0][table.headers.index("drift")] == "needs 60 s"


def test_a_case_that_was_not_sustained_has_no_course() -> None:
    case = Case("x.bundle", "b")
    short, failed = Row(case, (measurement(case),)), Row(case, ())
    long = sustained([1000.0] * 30)
    assert tabulate_course([short, long, failed]).rows == tabulate_course([long]).rows


def test_a_course_begins_ends_and_is_drawn() -> None:
    (line,) = tabulate_course([sustained([1000.0] * 30 + [2000.0] * 30)]).rows
    assert line[:3] == ("a", "1 us", "2 us")
    assert line[3].startswith("slower: 2.000")
    assert line[4] == "▁" * 15 + "█" * 15


def test_clock_and_temperature_have_columns_where_they_are_known() -> None:
    plain = tabulate_course([sustained([1000.0] * 30)])
    assert plain.headers == ("case", "begins", "ends", "drift", "p50 by time")
    known = tabulate_course([sustained([1000.0] * 30, khz=1_800_000, celsius=61.0)])
    assert known.rows[0][4:6] == ("1.8 to 1.8 GHz", "61 to 61 C")


def test_noise_is_not_drawn_as_drift() -> None:
    assert curve([100, 101, 100, 102]) == "▁▂▁▂"
    assert curve([100.0]) == "▁"


def test_a_long_course_fits_its_column() -> None:
    assert len(curve(list(range(1, 601)))) == 30


@pytest.mark.parametrize("blocks", ["▁█", "_@"])
def test_a_curve_is_drawn_with_what_a_terminal_has(blocks: str) -> None:
    assert curve([1, 2], blocks) == blocks
