"""Tuning: what is chosen from measurements that are made up, and that load takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgedl.bench.plan import Row
from edgedl.bench.tune import Sweep, fastest, tune
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import EdgedlError
from edgedl.runtime.protocol import Case, Failure
from edgedl.runtime.settings import Settings
from tests.bench.measurements import health, measurement

SWEEP = Sweep(("fp32", "rounded"), (1, 2))


def rows_of(time: Callable[[Case], int]) -> Callable[[list[Case]], list[Row]]:
    """Measuring, made up: how many nanoseconds each case takes."""
    return lambda cases: [Row(c, (measurement(c, [time(c)] * 20),) * 2) for c in cases]


def chosen(bundle: Path, time: Callable[[Case], int], sweep: Sweep = SWEEP) -> tuple[str, Settings]:
    tuned = tune(open_bundle(bundle), Case(str(bundle), "fp32"), sweep, rows_of(time))
    return tuned.variant, tuned.settings


def test_the_fastest_is_chosen(classifier_bundle: Path) -> None:
    def time(case: Case) -> int:
        quick = case.variant == "rounded" and case.threads == 2 and case.spinning
        return (500 if quick else 1000) - (100 if case.arena is False else 0)

    assert chosen(classifier_bundle, time) == ("rounded", Settings(2, True, False))


def test_of_those_that_are_level_the_lightest_is(classifier_bundle: Path) -> None:
    def time(case: Case) -> int:
        return 1000 - 10 * (case.threads or 0) - bool(case.spinning)

    assert chosen(classifier_bundle, time) == ("fp32", Settings(1, False, True))


def test_only_what_may_be_chosen_is(classifier_bundle: Path) -> None:
    sweep = Sweep(("fp32",), (2,), spinning=(False,), arena=(True,))
    tried: list[Case] = []

    def time(case: Case) -> int:
        tried.append(case)
        return 1000

    tune(open_bundle(classifier_bundle), Case("b", "fp32"), sweep, rows_of(time))
    assert {(c.variant, bool(c.spinning), c.arena) for c in tried} == {("fp32", False, True)}


def test_what_failed_or_throttled_is_never_chosen() -> None:
    quick, slow = (Case("b", name) for name in ("quick", "slow"))
    right = Row(slow, (measurement(slow, [1000] * 20),))
    broken = Row(quick, (), Failure("it crashed", "", 1))
    hot = health(bits=0b100)
    throttled = Row(quick, (measurement(quick, [10] * 20, health=hot),))
    assert throttled.invalid
    for other in (broken, throttled):
        assert fastest([other, right]) is right
    with pytest.raises(EdgedlError, match="crashed"):
        fastest([broken])
    with pytest.raises(EdgedlError, match="no timing can be trusted"):
        fastest([throttled])


def test_both_medians_and_the_machine_are_kept(classifier_bundle: Path) -> None:
    def time(case: Case) -> int:
        return 400 if case.threads == 1 else 800

    bundle = open_bundle(classifier_bundle)
    tuned = tune(bundle, Case("b", "fp32"), SWEEP, rows_of(time))
    assert tuned.median_ns == 400
    assert tuned.default_ns in (400, 800)  # this machine may have one CPU
    assert tuned.machine.processor == "Cortex-A72"
    assert tuned.bundle == bundle.manifest.seal
