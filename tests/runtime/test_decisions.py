"""Outputs that give classes: judged by the scores that stayed inside."""

from __future__ import annotations

import numpy as np
import pytest

from edgedl.runtime.golden import GoldenVectors
from edgedl.runtime.manifest import GoldenCase, OutputParity, Tolerance
from edgedl.runtime.parity import check_parity

# Ranges 10: a spread of 10. The second class is 0.2 under the first, the third 10.
SCORES = np.array([[10.0, 9.8, 0.0]] * 4, np.float32)
QUANTISED = Tolerance(min_sqnr_db=15.0, flip_margin=0.1)
FLOAT = Tolerance(atol=1e-5, rtol=1e-4)


def compare(chosen: list[int], tolerance: Tolerance, scores: np.ndarray = SCORES) -> OutputParity:
    expected = np.argmax(scores, -1)
    golden = GoldenVectors(GoldenCase("all", {}), {}, {"class": expected}, {"class": scores})
    (row,) = check_parity(lambda _: {"class": np.array(chosen)}, [golden], tolerance, ())
    return row


@pytest.mark.parametrize(
    ("chosen", "tolerance", "passed", "flips"),
    [
        ([0, 0, 0, 0], QUANTISED, True, 0),
        ([0, 1, 0, 0], QUANTISED, True, 1),  # a margin of 0.02
        ([0, 2, 0, 0], QUANTISED, False, 1),  # a margin of 1
        ([0, 0, 0, 0], FLOAT, True, 0),
        ([0, 1, 0, 0], FLOAT, False, 1),
    ],
)
def test_a_class(chosen: list[int], tolerance: Tolerance, passed: bool, flips: int) -> None:
    row = compare(chosen, tolerance)
    assert (row.passed, row.flips, row.positions) == (passed, flips, 4)
    assert row.top1 == 1 - flips / 4


def test_a_float_model_may_break_a_tie_otherwise() -> None:
    tied = np.array([[1.0, 1.0 - 1e-6]] * 4, np.float32)
    assert compare([0, 1, 0, 0], FLOAT, tied).passed


@pytest.mark.parametrize("wrong", [[0, 3, 0, 0], [0, -1, 0, 0], [0, 0, 0]])
def test_what_is_no_class_fails(wrong: list[int]) -> None:
    assert not compare(wrong, QUANTISED).passed


def test_of_the_best_k_a_quantised_model_is_held_to_the_first() -> None:
    best = np.argsort(-SCORES, -1, kind="stable")
    golden = GoldenVectors(GoldenCase("all", {}), {}, {"best": best}, {"best": SCORES})
    swapped = best[:, [0, 2, 1]]
    rows = [
        check_parity(lambda _: {"best": swapped}, [golden], tolerance, ())[0]
        for tolerance in (QUANTISED, FLOAT)
    ]
    assert [row.passed for row in rows] == [True, False]
    assert [row.flips for row in rows] == [0, 0]


def test_a_case_without_the_scores_behind_its_classes_is_no_proof() -> None:
    cases = [
        GoldenVectors(GoldenCase(name, {}), {}, {"class": np.zeros(4, np.int64)}, scores)
        for name, scores in (("whole", {"class": SCORES}), ("bare", {}))
    ]
    (row,) = check_parity(lambda _: {"class": np.zeros(4, np.int64)}, cases, QUANTISED, ())
    assert not row.passed
    assert row.reason == "bare: the source's scores behind it are missing"
