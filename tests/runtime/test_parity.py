"""Verdicts: the tolerance's formula, the noise ratio and what can't be compared."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, OutputParity, StatePair, Tolerance
from edgedl.runtime.parity import check_parity, classes_of, failures
from edgedl.runtime.protocol import ParityAnswer, ParityRequest
from edgedl.runtime.worker import answer
from tests.graphs import (
    EXACT,
    change_manifest,
    change_variant,
    write_classifier_bundle,
    write_text_bundle,
)

LOOSE = Tolerance(atol=1e9)


def compare(
    actual: Array | list[float], expected: Array | list[float], tolerance: Tolerance = LOOSE
) -> OutputParity:
    """One output `y` of one case beside what it should be."""
    golden = GoldenVectors(GoldenCase("only", {}), {}, {"y": np.asarray(expected)})
    (row,) = check_parity(lambda _: {"y": np.asarray(actual)}, [golden], tolerance, (), ("y",))
    return row


# |a - b| <= 0.5 + 0.25 * |b|: with b = 4 that is 1.5 either way.
@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (5.5, True),
        (np.nextafter(5.5, 6), False),
        (2.5, True),
        (np.nextafter(2.5, 2), False),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_holds_up_to_its_edge(value: float, passes: bool, sign: int) -> None:
    row = compare([0.0, sign * value], [0.0, sign * 4.0], Tolerance(atol=0.5, rtol=0.25))
    assert row.passed is passes
    assert row.max_abs == pytest.approx(1.5)
    assert row.max_rel == pytest.approx(0.375)


def test_every_element_is_held_to_its_own_magnitude() -> None:
    tolerance = Tolerance(atol=0.0, rtol=0.01)
    assert compare([1000.0, 1.0], [1001.0, 1.0], tolerance).passed
    assert not compare([1000.0, 1.0], [1000.0, 2.0], tolerance).passed


def test_a_relative_tolerance_alone_is_held_too() -> None:
    assert compare([1.0], [1.001], Tolerance(rtol=0.01)).passed
    assert not compare([1.0], [2.0], Tolerance(rtol=0.01)).passed


def test_a_failure_says_by_how_much_and_where() -> None:
    row = compare([1.0], [3.0], Tolerance(atol=0.5))
    assert row.worst_case == "only"
    assert failures([row]) == [
        "y: max |a-b| 2 in case only is over 0.5 + 0*|b|; 4 times that would do"
    ]
    assert failures([compare([1.0], [1.0])]) == []


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (np.zeros((2, 2)), "only: shape [2, 2] instead of [2]"),
        (np.zeros(2, np.float32), "only: dtype float32 instead of float64"),
        (np.array([math.nan, 0]), "only: 1 values are NaN or infinite on one side only"),
        (np.array([math.inf, math.nan]), "only: 2 values are NaN or infinite on one side only"),
    ],
)
def test_what_can_not_be_compared_fails_whatever_is_allowed(actual: Array, reason: str) -> None:
    row = compare(actual, np.zeros(2))
    assert not row.passed
    assert row.reason == reason


def test_a_missing_output_fails() -> None:
    golden = GoldenVectors(GoldenCase("only", {}), {}, {"y": np.zeros(2)})
    (row,) = check_parity(lambda _: {"z": np.zeros(2)}, [golden], LOOSE, ())
    assert (row.passed, row.reason) == (False, "only: the output is missing")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_same_special_value_on_both_sides_is_agreement(value: float) -> None:
    assert compare([value, 1.0], [value, 1.0], Tolerance(atol=0.0)).passed
    assert not compare([1.0, value], [value, 1.0]).passed
    assert not compare([1.0, 1.0], [1.0, value]).passed


def test_infinities_of_opposite_sign_disagree() -> None:
    assert not compare([math.inf], [-math.inf]).passed


def test_special_values_do_not_hide_the_others() -> None:
    assert not compare([math.nan, 1.0], [math.nan, 2.0], Tolerance(atol=0.5)).passed


def test_integers_and_empty_outputs_are_compared() -> None:
    exact = Tolerance(atol=0.0)
    assert compare(np.array([1, 2]), np.array([1, 2]), exact).passed
    assert not compare(np.array([1, 2]), np.array([1, 3]), exact).passed
    assert compare(np.zeros((0, 3)), np.zeros((0, 3)), exact).passed


@pytest.mark.parametrize(
    ("tolerance", "differing", "passes"),
    [
        (Tolerance(atol=1e-5, rtol=1e-4), 0, True),
        (Tolerance(atol=1e-5, rtol=1e-4), 1, False),
        (Tolerance(min_sqnr_db=15.0, max_drop=2.0), 1, True),
        (Tolerance(min_sqnr_db=15.0, max_drop=2.0), 2, False),
        (Tolerance(min_sqnr_db=15.0), 1, False),
    ],
)
def test_whole_numbers_are_right_or_not(tolerance: Tolerance, differing: int, passes: bool) -> None:
    # One more than 50,000 is noise of 94 dB, and within 1e-4 of it.
    expected = np.full(50, 50_000)
    actual = expected + (np.arange(50) < differing)
    row = compare(actual, expected, tolerance)
    assert (row.passed, row.flips, row.positions) == (passes, differing, 50)
    if not passes:
        assert row.reason.startswith(f"{differing} of 50 whole numbers differ, one in case only")


def test_truth_values_are_whole_numbers_too() -> None:
    tolerance = Tolerance(min_sqnr_db=0.0, max_drop=1.0)
    assert not compare(np.array([True, True]), np.array([True, False]), tolerance).passed


def test_the_noise_ratio_is_in_decibels_of_power() -> None:
    # Signal 9 + 16 = 25, noise 0.5 ** 2 = 0.25: a ratio of 100, 20 dB.
    actual, expected = [3.0, 4.5], [3.0, 4.0]
    assert compare(actual, expected).sqnr_db == pytest.approx(20.0)
    assert compare(actual, expected, Tolerance(min_sqnr_db=19.99)).passed
    row = compare(actual, expected, Tolerance(min_sqnr_db=20.01))
    assert (row.passed, row.reason) == (False, "SQNR 20.0 dB is under 20.01 dB")


def test_a_case_that_is_broken_is_not_hidden_by_the_others() -> None:
    many = np.full((100, 3), 5.0)
    golden = [
        GoldenVectors(GoldenCase("batch100", {}), {"x": many}, {"y": many}),
        GoldenVectors(GoldenCase("batch1", {}), {"x": many[:1]}, {"y": many[:1]}),
    ]

    def wrong_at_batch_1(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": feeds["x"] * (len(feeds["x"]) > 1)}

    (row,) = check_parity(wrong_at_batch_1, golden, Tolerance(min_sqnr_db=15.0), ())
    assert not row.passed
    assert row.reason == "SQNR 0.0 dB in case batch1 is under 9 dB"


def test_without_noise_there_is_no_ratio() -> None:
    row = compare([3.0, 4.0], [3.0, 4.0], Tolerance(min_sqnr_db=200.0))
    assert (row.sqnr_db, row.passed) == (None, True)
    assert row.cosine == pytest.approx(1.0)


def test_noise_without_signal_fails() -> None:
    assert not compare([0.1], [0.0], Tolerance(min_sqnr_db=10.0)).passed


def test_cosine_is_the_angle_between_the_outputs() -> None:
    assert compare([1.0, 1.0], [1.0, 0.0]).cosine == pytest.approx(math.sqrt(0.5))


def test_top1_is_the_share_of_positions_that_agree() -> None:
    expected = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 2.0], [0.0, 0.0, 1.0]])
    actual = expected.copy()
    actual[1] = [0.0, 0.1, 0.2]
    assert compare(actual, expected).top1 == pytest.approx(2 / 3)
    golden = GoldenVectors(GoldenCase("only", {}), {}, {"y": expected})
    (row,) = check_parity(lambda _: {"y": actual}, [golden], LOOSE, (), classes=())
    assert row.top1 is None


def test_the_worst_case_decides() -> None:
    cases = [
        GoldenVectors(GoldenCase(name, {}), {"x": np.array([error])}, {"y": np.array([0.0])})
        for name, error in (("good", 0.0), ("bad", 0.3), ("fair", 0.1))
    ]
    (row,) = check_parity(lambda feeds: {"y": feeds["x"]}, cases, Tolerance(atol=0.2), ())
    assert (row.passed, row.worst_case, row.max_abs) == (False, "bad", 0.3)


STATE = (StatePair("sum_in", "sum_out"),)
STEPS = GoldenVectors(
    GoldenCase("steps", {}, 4),
    {"x": np.array([[1.0], [2.0], [3.0], [4.0]]), "sum_in": np.array([10.0])},
    {"doubled": np.array([[22.0], [26.0], [32.0], [40.0]]), "sum_out": np.array([20.0])},
)


def running_sum(feeds: Arrays) -> Arrays:
    """A stateful model: the sum so far, and twice that."""
    total = feeds["sum_in"] + feeds["x"]
    return {"doubled": 2 * total, "sum_out": total}


def test_state_is_fed_back_from_step_to_step() -> None:
    rows = check_parity(running_sum, [STEPS], Tolerance(atol=0.0), STATE)
    assert [(row.output, row.passed) for row in rows] == [("doubled", True), ("sum_out", True)]


def test_a_model_that_loses_its_state_fails() -> None:
    def forgetful(feeds: Arrays) -> Arrays:
        return {**running_sum(feeds), "sum_out": np.array([10.0])}

    rows = check_parity(forgetful, [STEPS], Tolerance(atol=0.1), STATE)
    assert [row.passed for row in rows] == [False, False]


def test_noise_in_state_is_reported_but_not_held_to_the_ratio() -> None:
    def noisy(feeds: Arrays) -> Arrays:
        return {**running_sum(feeds), "sum_out": feeds["sum_in"] * 0}

    golden = GoldenVectors(
        GoldenCase("once", {}),
        {"x": np.array([1.0]), "sum_in": np.array([1.0])},
        {"doubled": np.array([4.0]), "sum_out": np.array([2.0])},
    )
    doubled, state = check_parity(noisy, [golden], Tolerance(min_sqnr_db=10.0), STATE)
    assert (doubled.passed, state.passed) == (True, True)
    assert state.sqnr_db == pytest.approx(0.0)


def test_classes_are_the_tasks_output_or_all_but_state(tmp_path: Path, text_bundle: Path) -> None:
    assert classes_of(open_bundle(text_bundle).manifest) == ("logits",)
    path = write_classifier_bundle(tmp_path / "untyped.bundle")
    change_manifest(path, task=None)
    assert classes_of(open_bundle(path).manifest) == ("probabilities",)


def test_a_bundles_variants_are_held_to_the_source(
    classifier_bundle: Path, text_bundle: Path
) -> None:
    for path in (classifier_bundle, text_bundle):
        reply = answer(ParityRequest(str(path), threads=1))
        assert isinstance(reply, ParityAnswer)
        exact, rough = reply.variants
        assert (exact.variant, exact.passed, exact.reasons) == ("fp32", True, ())
        assert (rough.variant, rough.passed) == ("rounded", True)
        assert exact.outputs[0].sqnr_db is None or exact.outputs[0].sqnr_db > 100
        assert rough.outputs[0].sqnr_db is not None
        assert rough.outputs[0].sqnr_db < 40


def test_a_bundle_of_before_is_judged_by_what_it_holds(tmp_path: Path) -> None:
    path = write_text_bundle(tmp_path / "old.bundle")
    cases = [
        GoldenCase(case.name, case.sizes, case.steps)
        for case in open_bundle(path).manifest.golden.cases
        if case.kind == "call"
    ]
    golden = open_bundle(path).manifest.golden
    change_manifest(path, golden=msgspec.structs.replace(golden, cases=tuple(cases)))
    reply = answer(ParityRequest(str(path), ("fp32",), threads=1))
    assert isinstance(reply, ParityAnswer)
    (row,) = reply.variants
    assert row.passed
    assert (row.outputs[0].local_max_abs, row.outputs[0].text_steps) == (None, 0)


def test_a_variant_that_answers_otherwise_is_caught(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "strict.bundle")
    change_variant(path, "rounded", tolerance=EXACT)
    reply = answer(ParityRequest(str(path), ("rounded",), threads=1))
    assert isinstance(reply, ParityAnswer)
    (row,) = reply.variants
    assert not row.passed
    assert "probabilities: max |a-b|" in row.reasons[0]


def test_a_variant_over_its_quality_budget_is_caught(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "budget.bundle")
    change_variant(path, "rounded", tolerance=Tolerance(max_drop=1.0))
    reply = answer(ParityRequest(str(path), ("rounded",), threads=1))
    assert isinstance(reply, ParityAnswer)
    (row,) = reply.variants
    assert row.reasons == ("5.00 points of accuracy lost on 20 samples; at most 1 is allowed",)
