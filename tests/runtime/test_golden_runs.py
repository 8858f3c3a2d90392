"""Sequences of a stateful model: fed back, from the source's state, and in parts."""

from __future__ import annotations

import numpy as np
import pytest

from edgedl.runtime.golden import Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner, chunk_lengths, run_case, run_chunks
from edgedl.runtime.manifest import Chunks, GoldenCase, OutputParity, StatePair, Tolerance
from edgedl.runtime.parity import check_parity

STATE = (StatePair("sum_in", "sum_out"),)
STRICT = Tolerance(atol=0.01)
NOISY = Tolerance(min_sqnr_db=15.0)


def running_sum(feeds: Arrays) -> Arrays:
    """The source: x is (batch, time); sums since the start, and the last one as state."""
    sums = feeds["sum_in"][:, None] + np.cumsum(feeds["x"], 1)
    return {"sums": sums, "sum_out": sums[:, -1]}


X = np.arange(1.0, 41.0).reshape(2, 20)
ZERO = np.zeros(2)
STEPS = np.moveaxis(X[:, :, None], 1, 0)  # (steps, batch, 1)


def golden_steps() -> GoldenVectors:
    """Twenty fed-back steps."""
    blank = GoldenVectors(GoldenCase("steps", {}, 20), {"x": STEPS, "sum_in": ZERO}, {})
    return GoldenVectors(blank.case, blank.inputs, run_case(running_sum, blank, STATE))


def golden_forced() -> GoldenVectors:
    """Steps 3 and 9, each from the source's own state."""
    before = np.stack([X[:, :3].sum(1), X[:, :9].sum(1)])
    inputs = {"x": STEPS[[3, 9]], "sum_in": before}
    blank = GoldenVectors(GoldenCase("forced", {}, 2, "forced"), inputs, {})
    return GoldenVectors(blank.case, inputs, run_case(running_sum, blank, STATE))


def golden_whole() -> GoldenVectors:
    """One call that is also run in parts."""
    chunks = Chunks(chunk_lengths(20), {"x": 1}, {"sums": 1})
    inputs = {"x": X, "sum_in": ZERO}
    return GoldenVectors(GoldenCase("whole", {}, chunks=chunks), inputs, running_sum(inputs))


def judge(
    run: Runner, golden: list[GoldenVectors], tolerance: Tolerance
) -> dict[str, OutputParity]:
    """The rows by output."""
    return {row.output: row for row in check_parity(run, golden, tolerance, STATE)}


def test_what_is_right_passes_every_proof() -> None:
    rows = judge(running_sum, [golden_steps(), golden_forced(), golden_whole()], STRICT)
    assert [row.passed for row in rows.values()] == [True, True]
    assert rows["sums"].local_max_abs == rows["sums"].chunks_max_abs == 0.0


def test_without_such_cases_nothing_is_said_of_them() -> None:
    row = judge(running_sum, [golden_steps()], STRICT)["sums"]
    assert (row.local_max_abs, row.chunks_max_abs, row.diverged_at) == (None, None, None)
    assert row.text_steps == 0


def test_single_steps_show_a_wrong_state_that_the_noise_ratio_of_steps_does_not_judge() -> None:
    def loses_sign(feeds: Arrays) -> Arrays:
        outputs = running_sum({**feeds, "sum_in": np.abs(feeds["sum_in"])})
        return {**outputs, "sum_out": -outputs["sum_out"]}

    assert all(row.passed for row in judge(loses_sign, [golden_steps()], NOISY).values())
    row = judge(loses_sign, [golden_steps(), golden_forced()], NOISY)["sum_out"]
    assert not row.passed
    assert row.reason.startswith("steps from the source's state: SQNR -6.0 dB is under 15 dB")


def test_fed_back_steps_show_what_adds_up_where_single_steps_are_right() -> None:
    def drifts(feeds: Arrays) -> Arrays:
        outputs = running_sum(feeds)
        return {**outputs, "sum_out": outputs["sum_out"] + 0.009}

    assert all(row.passed for row in judge(drifts, [golden_forced()], STRICT).values())
    row = judge(drifts, [golden_steps(), golden_forced()], STRICT)["sums"]
    assert not row.passed
    assert "max |a-b| 0.171 in case steps" in row.reason
    assert row.local_max_abs == 0.0


def test_a_failing_single_step_is_named() -> None:
    def wrong_when_large(feeds: Arrays) -> Arrays:
        outputs = running_sum(feeds)
        return {**outputs, "sums": outputs["sums"] + (feeds["sum_in"].max() > 200)}

    row = judge(wrong_when_large, [golden_forced()], STRICT)["sums"]
    assert "steps from the source's state: max |a-b| 1 in case forced, step 1" in row.reason


def forgetful(feeds: Arrays) -> Arrays:
    """A model that ignores the state it is given."""
    return running_sum({**feeds, "sum_in": feeds["sum_in"] * 0})


@pytest.mark.parametrize("tolerance", [STRICT, NOISY])
def test_a_model_that_ignores_its_state_is_another_in_parts(tolerance: Tolerance) -> None:
    # From zeros, and in one call, it answers all that the source does.
    vectors = golden_whole()
    plain = GoldenVectors(GoldenCase("whole", {}), vectors.inputs, vectors.outputs)
    assert all(row.passed for row in judge(forgetful, [plain], tolerance).values())
    row = judge(forgetful, [vectors], tolerance)["sums"]
    assert row.reason.startswith("a sequence in parts differs from it whole: ")
    assert row.chunks_max_abs == X[1, :8].sum()


def test_a_missing_state_output_is_named_in_every_proof() -> None:
    def without(feeds: Arrays) -> Arrays:
        return {"sums": running_sum(feeds)["sums"]}

    golden = [golden_steps(), golden_forced(), golden_whole()]
    row = judge(without, golden, STRICT)["sum_out"]
    assert "steps: the output is missing" in row.reason
    assert "forced, step 0: the output is missing" in row.reason


@pytest.mark.parametrize(
    ("length", "parts"), [(1, ()), (2, (1, 1)), (8, (1, 7)), (9, (1, 7, 1)), (64, (1, 7, 56))]
)
def test_parts_are_unequal(length: int, parts: tuple[int, ...]) -> None:
    assert chunk_lengths(length) == parts


def test_parts_are_cut_and_joined_along_their_own_axes() -> None:
    def time_first(feeds: Arrays) -> Arrays:
        outputs = running_sum({"x": feeds["x"].T, "sum_in": feeds["sum_in"]})
        return {**outputs, "bias": np.ones(3)}

    chunks = Chunks((1, 7, 12), {"x": 0}, {"sums": 1})
    outputs = run_chunks(time_first, {"x": X.T, "sum_in": ZERO}, chunks, STATE)
    assert outputs.keys() == {"sums", "sum_out"}
    np.testing.assert_array_equal(outputs["sums"], np.cumsum(X, 1))
