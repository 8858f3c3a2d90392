"""Flips: where another class is chosen, by how much, and when that fails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgedl.runtime.flips import Spread, golden_spreads, lost_scores, margins
from edgedl.runtime.golden import Array, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, OutputParity, StatePair, TensorSpec, Tolerance
from edgedl.runtime.parity import answer_outputs, check_parity, failures

BOUND = Tolerance(flip_margin=0.1)
# Ranges 10, 10 and 10: a spread of 10. Margins 5, 1 and 0.5.
SCORES = np.array([[10.0, 5.0, 0.0], [9.0, 10.0, 0.0], [0.0, 9.5, 10.0]])


def compare(
    actual: Array, expected: Array = SCORES, tolerance: Tolerance = BOUND, judged: bool = True
) -> OutputParity:
    """Scores of one case beside the source's."""
    golden = [GoldenVectors(GoldenCase("only", {}), {}, {"y": expected})]
    answers = ("y",) if judged else ()
    (row,) = check_parity(lambda _: {"y": actual}, golden, tolerance, (), ("y",), answers)
    return row


def choose(*classes: int) -> Array:
    """Scores that choose these classes."""
    return np.eye(3)[list(classes)]


def test_a_flip_up_to_the_bound_is_counted_and_allowed() -> None:
    row = compare(choose(0, 0, 1))
    assert row.passed
    assert (row.positions, row.flips, row.clear_flips) == (3, 2, 0)
    assert row.worst_flip == pytest.approx(0.1)
    assert row.top1 == pytest.approx(1 / 3)


def test_one_flip_over_the_bound_fails() -> None:
    row = compare(choose(1, 0, 2))
    assert (row.passed, row.flips, row.clear_flips) == (False, 2, 1)
    assert failures([row]) == [
        "y: 1 of 3 top-1 classes flipped where the source's margin is over 0.1 of the scores' "
        "range; the largest, 0.5, in case only"
    ]


def test_a_flip_to_a_hopeless_class_is_no_close_call() -> None:
    # The source's first two classes lie within the bound, but the third is chosen.
    row = compare(choose(0, 2, 2))
    assert not row.passed
    assert row.worst_flip == pytest.approx(1.0)


def test_flips_of_an_output_that_is_no_answer_are_counted_only() -> None:
    row = compare(choose(1, 1, 2), judged=False)
    assert (row.passed, row.flips, row.clear_flips) == (True, 1, 1)


def test_without_a_bound_flips_are_counted_only() -> None:
    row = compare(choose(1, 1, 2), tolerance=Tolerance(atol=1e9))
    assert (row.passed, row.flips, row.clear_flips) == (True, 1, 0)
    assert row.worst_flip == pytest.approx(0.5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_margin_has_no_unit(scale: float) -> None:
    assert compare(choose(0, 0, 2), SCORES * scale).worst_flip == pytest.approx(0.1)


def test_with_two_classes_a_close_call_is_still_one() -> None:
    # At every position the range is the margin; beside the others 0.02 is little.
    sure, unsure = [0.0, 1.0], [0.51, 0.49]
    expected = np.array([sure] * 9 + [unsure])
    assert compare(np.array([sure] * 9 + [[0.4, 0.6]]), expected).passed
    assert not compare(np.array([sure] * 8 + [[0.6, 0.4], unsure]), expected).passed


def test_a_tie_may_fall_either_way() -> None:
    row = compare(np.array([[1.0, 2.0]]), np.array([[3.0, 3.0]]))
    assert (row.passed, row.flips, row.worst_flip) == (True, 1, 0.0)


def test_scores_masked_with_infinity_are_left_out_of_the_range() -> None:
    expected = np.array([[10.0, 0.0, -math.inf], [math.inf, 1.0, 0.0]])
    assert Spread().over(expected).value == pytest.approx(math.sqrt((10**2 + 1) / 2))
    assert lost_scores(expected, expected).tolist() == [0.0, 0.0]


def test_a_part_of_the_cases_is_judged_by_the_spread_of_all() -> None:
    sure = GoldenVectors(GoldenCase("sure", {}), {}, {"y": np.array([[10.0, 0.0]])})
    close = GoldenVectors(GoldenCase("close", {}), {}, {"y": np.array([[0.1, 0.0]])})
    flipped = {"y": np.array([[0.0, 0.1]])}
    spreads = golden_spreads([sure, close])
    (alone,) = check_parity(lambda _: flipped, [close], BOUND, (), ("y",))
    (beside,) = check_parity(lambda _: flipped, [close], BOUND, (), ("y",), None, spreads)
    assert (alone.passed, beside.passed) == (False, True)


def test_equal_scores_everywhere_have_no_margin() -> None:
    assert margins(np.array([0.0]), 0.0).tolist() == [0.0]


def test_only_scores_of_whole_samples_are_judged_without_a_task() -> None:
    outputs = (
        TensorSpec("classes", "float32", ("batch", 10)),
        TensorSpec("picture", "float32", ("batch", 3, 8, 8)),
        TensorSpec("h_out", "float32", ("batch", 4)),
        TensorSpec("index", "int64", ("batch", 4)),
    )
    state = (StatePair("h", "h_out"),)
    assert answer_outputs(outputs, state, None) == ("classes",)
