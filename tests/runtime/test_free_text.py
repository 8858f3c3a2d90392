"""Greedy text: where it leaves the source's, and when that is no close call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedl.runtime.free_text import TextStart, text_vectors
from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import GoldenCase, OutputParity, StatePair, Tolerance
from edgedl.runtime.parity import check_parity

CLASSES = 7
PAIR = (StatePair("h", "h_out"),)
FLOAT = Tolerance(atol=1e-5, rtol=1e-4)
QUANTISED = Tolerance(min_sqnr_db=0.0, flip_margin=0.1)


def scores_after(total: int) -> Array:
    """The next token is the sum of those before it, modulo 7; a margin of 1 or 0.05."""
    scores = np.zeros(CLASSES)
    scores[total % CLASSES] = 1.0
    if total % CLASSES == 4:
        scores[5] = 0.95
    return scores


def source(feeds: Arrays) -> Arrays:
    """Tokens (1, time) and the sum so far in; scores (1, time, 7) and the sum out."""
    totals = feeds["h"][0] + np.cumsum(feeds["tokens"][0])
    return {
        "scores": np.stack([scores_after(int(t)) for t in totals])[None],
        "h_out": totals[-1:].astype(np.float64),
    }


def wrong_at(total: int, change: Array) -> Runner:
    """The source, its scores changed where the sum modulo 7 is this."""

    def run(feeds: Arrays) -> Arrays:
        outputs = source(feeds)
        totals = feeds["h"][0] + np.cumsum(feeds["tokens"][0])
        outputs["scores"] += np.where((totals % CLASSES == total)[None, :, None], change, 0.0)
        return outputs

    return run


START: dict[str, Any] = {
    "token_input": "tokens",
    "output": "scores",
    "prompt": np.array([[3, 1, 1]]),
    "axis": 1,
    "state": {"h": np.zeros(1)},
    "whole": True,
}
# Sums modulo 7 from 5: 5, 3, 6, 5, 3, 6, ... and from 1 (a prompt of 1): 1, 2, 4, 1, 2, 4, ...
ONES: dict[str, Any] = {**START, "prompt": np.array([[1]])}


def golden(start: dict[str, Any], steps: int = 9) -> list[GoldenVectors]:
    """A call, whose scores' spread is 1, and the source's text."""
    inputs = {"tokens": start["prompt"], "h": np.zeros(1)}
    size = start["prompt"].shape[1] if start["whole"] else 1
    case = GoldenCase("text", {"batch": 1, "time": size}, steps, "text")
    return [
        GoldenVectors(GoldenCase("call", {}), inputs, source(inputs)),
        text_vectors(source, TextStart(**start), PAIR, case),
    ]


def judge(run: Runner, vectors: list[GoldenVectors], tolerance: Tolerance) -> OutputParity:
    """The scores' row; the golden call itself isn't looked at."""
    rows = check_parity(run, vectors[1:], tolerance, PAIR, ("scores",), None, {"scores": 1.0})
    return next(row for row in rows if row.output == "scores")


def test_a_text_is_prompt_and_greedy_tokens_with_their_two_best_scores() -> None:
    text = golden(ONES, 4)[1]
    assert text.inputs["tokens"].tolist() == [[1, 1, 2, 4, 1]]
    assert text.outputs["scores"].tolist() == [[1, 0], [1, 0], [1, 0.95], [1, 0]]


@pytest.mark.parametrize("whole", [True, False])
def test_the_source_writes_its_own_text(whole: bool) -> None:
    row = judge(source, golden({**START, "whole": whole}), FLOAT)
    assert (row.passed, row.text_steps, row.diverged_at) == (True, 9, None)


def test_a_prompt_is_read_token_by_token_where_time_is_one() -> None:
    lengths = []

    def watched(feeds: Arrays) -> Arrays:
        lengths.append(feeds["tokens"].shape[1])
        return source(feeds)

    judge(watched, golden({**START, "whole": False}), FLOAT)
    assert set(lengths) == {1}


def test_the_first_other_token_is_told_with_the_sources_margin() -> None:
    close = wrong_at(4, 0.1 * np.eye(CLASSES)[5])  # 0.95 + 0.1 is over 1
    row = judge(close, golden(ONES), QUANTISED)
    assert (row.passed, row.diverged_at) == (True, 2)
    assert row.diverged_margin == pytest.approx(0.05)


def test_leaving_the_source_where_it_was_sure_fails() -> None:
    row = judge(wrong_at(3, 2 * np.eye(CLASSES)[0]), golden(START), QUANTISED)
    assert (row.passed, row.diverged_at, row.diverged_margin) == (False, 1, 1.0)
    assert row.reason == (
        "greedy text leaves the source's at token 1, where the source's margin is 1 of the "
        "scores' range, over 0.1"
    )


def test_a_float_variant_may_leave_it_only_within_float_noise() -> None:
    row = judge(wrong_at(4, 0.1 * np.eye(CLASSES)[5]), golden(ONES), FLOAT)
    assert not row.passed
    assert row.reason.endswith("where the source's margin, 0.05, is more than float noise")


def test_two_scores_a_rounding_apart_may_change_places() -> None:
    vectors = golden(ONES)
    vectors[1].outputs["scores"][2] = [1.0, 1.0 - 1e-6]
    row = judge(wrong_at(4, 0.1 * np.eye(CLASSES)[5]), vectors, FLOAT)
    assert (row.passed, row.diverged_at) == (True, 2)


def test_a_model_that_loses_its_state_writes_another_text() -> None:
    def forgetful(feeds: Arrays) -> Arrays:
        return source({**feeds, "h": np.zeros(1)})

    row = judge(forgetful, golden(START), QUANTISED)
    assert (row.passed, row.diverged_at) == (False, 1)


def test_without_state_the_whole_text_is_read_again() -> None:
    def reads_all(feeds: Arrays) -> Arrays:
        return {"scores": source({**feeds, "h": np.zeros(1)})["scores"]}

    start = TextStart("tokens", "scores", np.array([[3, 1, 1]]), 1, {}, True)
    case = GoldenCase("text", {"batch": 1, "time": 3}, 6, "text")
    text = text_vectors(reads_all, start, (), case)
    assert text.inputs["tokens"].tolist() == golden(START, 6)[1].inputs["tokens"].tolist()
    (row,) = check_parity(reads_all, [text], FLOAT, (), ("scores",), None, {"scores": 1.0})
    assert (row.passed, row.diverged_at) == (True, None)


def test_text_is_not_asked_of_a_model_that_lacks_an_output() -> None:
    vectors = golden(ONES)
    rows = check_parity(lambda _: {}, vectors, FLOAT, PAIR, ("scores",))
    assert rows[0].reason == "call: the output is missing"
