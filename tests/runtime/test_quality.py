"""Quality on labelled samples, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from edgedl.runtime.golden import Arrays
from edgedl.runtime.manifest import Quality, TensorSpec, TextGeneration, Tolerance, Vocabulary
from edgedl.runtime.quality import answer, batches, judge, over_budget

X = TensorSpec("x", "float32", ("batch", 2))
H = TensorSpec("h", "float32", (1, "batch", 2))
LN3 = math.log(3)


def same(feeds: Arrays) -> Arrays:
    """A model whose logits are its input."""
    return {"y": feeds["x"]}


def test_accuracy_is_the_share_of_right_labels() -> None:
    x = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    labels = np.array([0, 1, 1, 1])
    answers = answer(same, [X], {"x": x}, labels, "y")
    quality = judge(answers, labels, None, source_top1=np.array([0, 0, 1, 1]), source=0.5)
    assert (quality.metric, quality.value, quality.source) == ("accuracy", 0.75, 0.5)
    assert (quality.top1, quality.samples) == (0.5, 4)


def test_pairs_where_one_of_the_two_is_right_are_counted() -> None:
    x = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    labels = np.array([0, 1, 1, 1, 0])
    answers = answer(same, [X], {"x": x}, labels, "y")  # right, right, wrong, right, right
    source_top1 = np.array([1, 0, 1, 1, 0])  # wrong, wrong, right, right, right
    quality = judge(answers, labels, None, source_top1, source=0.6)
    assert (quality.worse, quality.better, quality.spread) == (1, 2, None)
    assert quality.drop == pytest.approx(100 * (1 - 2) / 5)


def test_several_labels_of_a_sample_are_one_draw() -> None:
    spec = TensorSpec("x", "float32", ("batch", 2, 2))
    x = np.array([[[1, 0], [1, 0]], [[1, 0], [0, 1]], [[0, 1], [0, 1]]], np.float32)
    labels = np.zeros((3, 2), np.int64)
    answers = answer(same, [spec], {"x": x}, labels, "y")
    quality = judge(answers, labels, None, labels, source=1.0)
    assert (quality.worse, quality.better) == (None, None)
    assert quality.spread == pytest.approx(0.5)  # of 0, 0.5 and 1 lost


def test_nats_differ_from_the_sources_sample_by_sample() -> None:
    x = np.array([[0, 0], [LN3, 0]], np.float32)
    labels = np.array([1, 0])
    answers = answer(same, [X], {"x": x}, labels, "y")
    task = TextGeneration("x", "y", Vocabulary(("a", "b"), 0))
    losses = answers.losses - [0.1, 0.3]
    quality = judge(answers, labels, task, labels, 0.4, losses)
    assert quality.spread == pytest.approx(math.sqrt(0.02))
    assert judge(answers, labels, task, labels, 0.4).spread is None


def test_nats_are_the_mean_cross_entropy_of_the_labels() -> None:
    # Shares 1/2 and 3/4 for the labels: ln 2 and ln 4/3.
    x = np.array([[0, 0], [LN3, 0]], np.float32)
    labels = np.array([1, 0])
    answers = answer(same, [X], {"x": x}, labels, "y")
    task = TextGeneration("x", "y", Vocabulary(("a", "b"), 0))
    quality = judge(answers, labels, task, source_top1=labels, source=0.4)
    assert quality.metric == "nats"
    assert quality.value == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_nats_of_a_sequence_are_per_position() -> None:
    x = np.zeros((3, 4, 2), np.float32)
    spec = TensorSpec("x", "float32", ("batch", 4, 2))
    answers = answer(same, [spec], {"x": x}, np.zeros((3, 4), np.int64), "y")
    assert answers.nats == pytest.approx(math.log(2))
    assert answers.top1.shape == (3, 4)


def test_large_logits_do_not_overflow() -> None:
    x = np.array([[1e4, 0]], np.float32)
    assert answer(same, [X], {"x": x}, np.array([1]), "y").nats == pytest.approx(1e4)


def test_more_samples_than_a_batch_are_all_counted() -> None:
    x = np.zeros((300, 2), np.float32)
    x[:100, 0] = LN3  # ln 4/3 each for label 0, ln 2 for the other 200
    answers = answer(same, [X], {"x": x}, np.zeros(300, np.int64), "y")
    assert answers.nats == pytest.approx((100 * math.log(4 / 3) + 200 * math.log(2)) / 300)
    assert answers.top1.shape == (300,)


def test_state_that_is_not_given_starts_at_zero() -> None:
    def add(feeds: Arrays) -> Arrays:
        assert feeds["h"].dtype == np.float32
        return {"y": feeds["x"] + feeds["h"][0]}

    x = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    answers = answer(add, [X, H], {"x": x}, np.array([0, 1, 1]), "y")
    assert answers.top1.tolist() == [0, 1, 1]


def test_the_batch_axis_need_not_lead() -> None:
    h = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    parts = [(part["h"].tolist(), start, stop) for part, start, stop in batches({"h": h}, [H], 2)]
    assert parts == [
        ([[[0, 1], [2, 3]]], 0, 2),
        ([[[4, 5], [6, 7]]], 2, 4),
        ([[[8, 9]]], 4, 5),
    ]


@pytest.mark.parametrize(
    ("metric", "value", "source", "drop"),
    [
        ("accuracy", 0.70, 0.75, 5.0),
        ("accuracy", 0.80, 0.75, -5.0),
        ("nats", 1.1, 1.0, 10.0),
        ("nats", 1.8, 2.0, -10.0),
        ("agreement", 0.98, 1.0, 2.0),
    ],
)
def test_a_loss_is_positive_and_a_gain_negative(
    metric: Literal["accuracy", "nats", "agreement"], value: float, source: float, drop: float
) -> None:
    assert Quality(metric, value, source, 1.0, 10).drop == pytest.approx(drop)


@pytest.mark.parametrize(
    ("metric", "value", "source", "text"),
    [
        ("accuracy", 0.5, 0.75, "25.00 points of accuracy lost on 8 samples; at most 1 is allowed"),
        ("nats", 2.5, 2.0, "25.00 % more nats per character on 8 samples; at most 1 is allowed"),
        (
            "agreement",
            0.75,
            1.0,
            "25.00 % of the top-1 classes differ by more than the margin on 8",
        ),
    ],
)
def test_an_exceeded_budget_says_what_was_lost(
    metric: Literal["accuracy", "nats", "agreement"], value: float, source: float, text: str
) -> None:
    quality = Quality(metric, value, source, 1.0, 8)
    assert over_budget(quality, Tolerance(max_drop=1.0)).startswith(text)


def test_a_budget_holds_up_to_its_edge() -> None:
    quality = Quality("accuracy", 0.5, 0.75, 1.0, 8)  # a drop of exactly 25
    assert over_budget(quality, Tolerance(max_drop=25.0)) == ""
    assert over_budget(quality, Tolerance(max_drop=24.99)) != ""
    assert over_budget(quality, Tolerance()) == ""
    assert over_budget(Quality("accuracy", 0.9, 0.75, 1.0, 8), Tolerance(max_drop=0.0)) == ""
