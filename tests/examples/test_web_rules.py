"""The page's rules beside Python's: one set of answers, judged by both; and how text is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from edgedl.runtime.golden import Array, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, OutputParity, StatePair, Tolerance
from edgedl.runtime.parity import check_parity
from tests.examples.browsing import serving, visiting

pytestmark = pytest.mark.browser

FLOAT = Tolerance(atol=1e-5, rtol=1e-4)
QUANTISED = Tolerance(min_sqnr_db=15.0, max_drop=30.0, flip_margin=0.1)
RNG = np.random.default_rng(5)
SCORES = RNG.standard_normal((40, 6)).astype(np.float32)
# Ranges 10: the second class is 0.2 under the first, the third 10.
CLEAR = np.array([[10.0, 9.8, 0.0]] * 4, np.float32)
COUNTS = np.arange(4)


def noisy(decibels: float) -> Array:
    noise = RNG.standard_normal(SCORES.shape)
    level = np.sqrt((SCORES**2).mean() / (noise**2).mean() * 10 ** (-decibels / 10))
    return (SCORES + level * noise).astype(np.float32)


def with_value(array: Array, value: float) -> Array:
    changed = array.copy()
    changed.flat[7] = value
    return changed


def chosen(*classes: int) -> Array:
    return np.array(classes, np.int64)


@dataclass(frozen=True)
class Answers:
    """What the source answered, one array per case, and what a model did."""

    expected: list[Array]
    actual: list[Array]
    tolerance: Tolerance = FLOAT
    scores: list[Array] = field(default_factory=list)
    kind: str = "call"
    steps: int = 1
    state: bool = False


ANSWERS = {
    "equal": Answers([SCORES], [SCORES]),
    "a float's noise": Answers([SCORES], [SCORES * np.float32(1 + 5e-5)]),
    "more than a float's noise": Answers([SCORES], [SCORES * np.float32(1 + 5e-4)]),
    "of two cases one is off": Answers([SCORES, SCORES], [SCORES, with_value(SCORES, 9.0)]),
    "NaN": Answers([SCORES], [with_value(SCORES, np.nan)]),
    "NaN in both": Answers([with_value(SCORES, np.nan)], [with_value(SCORES, np.nan)]),
    "infinity": Answers([SCORES], [with_value(SCORES, np.inf)]),
    "infinity in both": Answers([with_value(SCORES, -np.inf)], [with_value(SCORES, -np.inf)]),
    "infinity of another sign": Answers(
        [with_value(SCORES, np.inf)], [with_value(SCORES, -np.inf)]
    ),
    "another shape": Answers([SCORES], [SCORES.T.copy()]),
    "another dtype": Answers([SCORES], [SCORES.astype(np.float64)]),
    "little noise": Answers([SCORES], [noisy(30)], QUANTISED),
    "much noise": Answers([SCORES], [noisy(12)], QUANTISED),
    "noise in one case": Answers([SCORES * 9, SCORES], [SCORES * 9, noisy(7)], QUANTISED),
    "bearable noise in one case": Answers([SCORES * 9, SCORES], [SCORES * 9, noisy(18)], QUANTISED),
    "a close flip": Answers([CLEAR], [CLEAR + np.float32([0, 0.5, 0])], QUANTISED),
    "a clear flip": Answers(
        [SCORES * np.float32(100)], [np.roll(SCORES, 1, -1) * np.float32(100)], QUANTISED
    ),
    "whole numbers": Answers([COUNTS], [COUNTS]),
    "a whole number is off": Answers([COUNTS], [chosen(0, 1, 2, 2)]),
    "some whole numbers may be off": Answers([COUNTS], [chosen(0, 1, 2, 2)], QUANTISED),
    "too many whole numbers are off": Answers([COUNTS], [chosen(0, 1, 0, 2)], QUANTISED),
    "a class": Answers([chosen(0, 0, 0, 0)], [chosen(0, 0, 0, 0)], QUANTISED, [CLEAR]),
    "a close class": Answers([chosen(0, 0, 0, 0)], [chosen(0, 1, 0, 0)], QUANTISED, [CLEAR]),
    "a hopeless class": Answers([chosen(0, 0, 0, 0)], [chosen(0, 2, 0, 0)], QUANTISED, [CLEAR]),
    "another class of floats": Answers([chosen(0, 0, 0, 0)], [chosen(0, 1, 0, 0)], FLOAT, [CLEAR]),
    "no such class": Answers([chosen(0, 0, 0, 0)], [chosen(0, 3, 0, 0)], QUANTISED, [CLEAR]),
    "a class below all": Answers([chosen(0, 0, 0, 0)], [chosen(0, -1, 0, 0)], QUANTISED, [CLEAR]),
    "the later of the best": Answers(
        [np.array([[0, 1, 2]] * 4)], [np.array([[0, 2, 1]] * 4)], QUANTISED, [CLEAR]
    ),
    "the later of the best of floats": Answers(
        [np.array([[0, 1, 2]] * 4)], [np.array([[0, 2, 1]] * 4)], FLOAT, [CLEAR]
    ),
    "steps of their own": Answers([SCORES], [SCORES], kind="forced", steps=40),
    "a step is off": Answers([SCORES], [with_value(SCORES, 4.0)], kind="forced", steps=40),
    "noisy state": Answers([SCORES], [noisy(3)], QUANTISED, state=True),
    "noisy state in steps": Answers([SCORES], [noisy(3)], QUANTISED, [], "forced", 40, True),
    "state of floats is off": Answers([SCORES], [with_value(SCORES, 4.0)], state=True),
}  # fmt: skip


def golden(answers: Answers) -> list[GoldenVectors]:
    scores = answers.scores or [None] * len(answers.expected)
    return [
        GoldenVectors(
            GoldenCase(f"case{number}", {}, answers.steps, answers.kind),  # type: ignore[arg-type]
            {},
            {"y": expected},
            {} if behind is None else {"y": behind},
        )
        for number, (expected, behind) in enumerate(zip(answers.expected, scores, strict=True))
    ]


def calls(answers: Answers) -> list[Array]:
    """What the model answers, call after call."""
    if answers.kind == "forced":
        return [np.asarray(step) for array in answers.actual for step in array]
    return answers.actual


def judged_by_python(answers: Answers) -> OutputParity:
    replies = iter(calls(answers))
    state = (StatePair("x", "y"),) if answers.state else ()
    judged = () if answers.state else ("y",)
    (row,) = check_parity(
        lambda _: {"y": next(replies)}, golden(answers), answers.tolerance, state, judged
    )
    return row


JUDGE = """async ({ golden, replies, tolerance, state }) => {
  const { arrayOf } = await import("./js/arrays.js");
  const { prove } = await import("./js/parity.js");
  const unpack = (arrays) => Object.fromEntries(
    Object.entries(arrays).map(([name, a]) => [name, arrayOf(a.dtype, a.shape, a.data)]));
  const vectors = golden.map(({ outputs, scores, ...rest }) => (
    { ...rest, inputs: {}, outputs: unpack(outputs), scores: unpack(scores) }));
  const run = async () => ({ outputs: unpack({ y: replies.shift() }) });
  const task = state ? null : { output: "y" };
  const outputs = [{ name: "y", dtype: "float32", shape: [] }];
  const manifest = { task, outputs, state: state ? [{ input: "x", output: "y" }] : [] };
  const { rows } = await prove({ run, variant: { tolerance } }, vectors, manifest);
  return rows[0];
}"""


def packed(array: Array) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.ravel().tolist()}


def judged_by_the_page(page: Page, answers: Answers) -> dict[str, Any]:
    vectors = [
        {
            "case": {"name": v.case.name, "steps": v.case.steps, "kind": v.case.kind},
            "outputs": {name: packed(array) for name, array in v.outputs.items()},
            "scores": {name: packed(array) for name, array in v.scores.items()},
        }
        for v in golden(answers)
    ]
    limits = ("atol", "rtol", "min_sqnr_db", "max_drop", "flip_margin")
    request = {
        "golden": vectors,
        "replies": [packed(array) for array in calls(answers)],
        "tolerance": {name: getattr(answers.tolerance, name) for name in limits},
        "state": answers.state,
    }
    row: dict[str, Any] = page.evaluate(JUDGE, request)
    return row


@pytest.fixture(scope="module")
def page(browser: Browser, classifier_bundle: Path) -> Iterator[Page]:
    with serving(classifier_bundle) as url, visiting(browser, url) as visit:
        yield visit.page


@pytest.mark.parametrize("name", ANSWERS)
def test_the_page_judges_as_python_does(page: Page, name: str) -> None:
    answers = ANSWERS[name]
    there, here = judged_by_python(answers), judged_by_the_page(page, answers)
    assert here["passed"] == there.passed, (here["reason"], there.reason)
    if answers.kind == "call":
        assert (here["flips"], here["positions"]) == (there.flips, there.positions)
        assert here["maxAbs"] == pytest.approx(there.max_abs)
    if there.sqnr_db is not None:
        assert here["sqnr"] == pytest.approx(there.sqnr_db)
    if there.least_multiple is not None and answers.kind == "call":
        assert here["multiple"] == pytest.approx(there.least_multiple)


READ = """async ({ time, state }) => {
  const { generate } = await import("./js/text.js");
  const vocabulary = { tokens: ["?", "a", "b", "c"], unknown: 0 };
  const manifest = {
    task: { input: "tokens", output: "scores", vocabulary },
    inputs: [
      { name: "tokens", dtype: "int64", shape: ["batch", time] },
      ...(state ? [{ name: "h", dtype: "float32", shape: ["batch", 1] }] : []),
    ],
    state: state ? [{ input: "h", output: "h_out" }] : [],
  };
  const calls = [];
  const run = async ({ tokens, h }) => {
    calls.push([Array.from(tokens.data, Number), h ? h.data[0] : null]);
    // The token after the last one read; the state counts the calls.
    const next = (Number(tokens.data.at(-1)) % 3) + 1;
    const scores = Float32Array.from(vocabulary.tokens, (_, n) => (n === next ? 1 : 0));
    const h_out = { dtype: "float32", shape: [1, 1], data: Float32Array.of((h?.data[0] ?? 0) + 1) };
    return { scores: { dtype: "float32", shape: [1, tokens.data.length, 4], data: scores }, h_out };
  };
  let text = "";
  const wish = { prompt: "abZ", length: 3, temperature: 0, seed: 1n };
  for await (const piece of generate(run, manifest, wish)) text += piece;
  return [text, calls];
}"""


@pytest.mark.parametrize(
    ("time", "state", "calls"),
    [
        ("time", True, [[[1, 2, 0], 0], [[1], 1], [[2], 2]]),
        (1, True, [[[1], 0], [[2], 1], [[0], 2], [[1], 3], [[2], 4]]),
        ("time", False, [[[1, 2, 0], None], [[1, 2, 0, 1], None], [[1, 2, 0, 1, 2], None]]),
        (2, False, [[[2, 0], None], [[0, 1], None], [[1, 2], None]]),
    ],
)
def test_text_is_read_as_the_model_takes_it(
    page: Page, time: int | str, state: bool, calls: list[Any]
) -> None:
    text, seen = page.evaluate(READ, {"time": time, "state": state})
    assert text == "abc"
    assert seen == calls


def test_random_numbers_are_numpys(page: Page) -> None:
    draws = """async (seed) => {
      const { Random } = await import("./js/rng.js");
      const random = new Random(BigInt(seed));
      return Array.from({ length: 50 }, () => random.uniform());
    }"""
    for seed in (0, 1, 2**32, 2**64 - 1, 3**120):
        assert page.evaluate(draws, str(seed)) == np.random.default_rng(seed).random(50).tolist()
