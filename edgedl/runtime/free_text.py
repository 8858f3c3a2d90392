"""Free-running text: tokens chosen one after another, beside those the source chose.

A golden case of kind `text` holds, under the token input's name, a prompt and the tokens
with which the source went on, laid end to end along the input's sequence axis; under
the output's name the source's two largest scores at each of its tokens, (steps, 2). Its
other inputs are the state before the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import GoldenCase, StatePair, Tolerance


@dataclass(frozen=True)
class TextStart:
    """Where text starts: a prompt, the state before it, and what to read and feed.

    `prompt` is the token input's array, one sequence long along `axis`. Where the model
    takes it `whole`, it is one call, else a call for each token.
    """

    token_input: str
    output: str
    prompt: Array
    axis: int
    state: Arrays
    whole: bool


def greedy_scores(
    run: Runner, start: TextStart, pairs: Sequence[StatePair], steps: int
) -> Iterator[Array]:
    """The scores, (classes,), of each next token; the largest is fed in turn.

    A model without state reads the whole text again at every step.
    """
    state, text = start.state, start.prompt
    length = text.shape[start.axis]
    parts = [text] if start.whole else np.split(text, length, start.axis)
    outputs: Arrays = {}
    for part in parts:
        outputs = run({start.token_input: part, **state})
        state = {pair.input: outputs[pair.output] for pair in pairs}
    for step in range(steps):
        scores = outputs[start.output].reshape(-1, outputs[start.output].shape[-1])[-1]
        yield scores
        if step == steps - 1:
            return
        one = list(text.shape)
        one[start.axis] = 1
        token = np.full(one, np.argmax(scores), text.dtype)
        text = np.concatenate([text, token], start.axis)
        outputs = run({start.token_input: token if pairs else text, **state})
        state = {pair.input: outputs[pair.output] for pair in pairs}


def text_vectors(
    run: Runner, start: TextStart, pairs: Sequence[StatePair], case: GoldenCase
) -> GoldenVectors:
    """A model's own greedy text as a golden case."""
    text, best = start.prompt, []
    one = [1 if axis == start.axis else size for axis, size in enumerate(text.shape)]
    for scores in greedy_scores(run, start, pairs, case.steps):
        token = np.full(one, np.argmax(scores), text.dtype)
        text = np.concatenate([text, token], start.axis)
        best.append(np.sort(scores)[-2:][::-1])
    return GoldenVectors(
        case, {start.token_input: text, **start.state}, {start.output: np.stack(best)}
    )


@dataclass(frozen=True)
class Divergence:
    """Where a model's text first leaves the source's, and the source's two scores there."""

    output: str
    steps: int
    at: int | None = None
    scores: tuple[float, float] = (0.0, 0.0)

    @property
    def margin(self) -> float:
        """How far the source's scores put its own token over the next best."""
        return self.scores[0] - self.scores[1]

    def problem(self, tolerance: Tolerance, spread: float) -> str:
        """Why it is no close call; empty where it is, or where the texts are the same.

        Element by element, two scores may come together by both their tolerances; else the
        margin is held to the bound for flips.
        """
        share = self.margin / spread if spread > 0 else 0.0
        if self.at is None:
            return ""
        where = f"greedy text leaves the source's at token {self.at}, where the source's margin"
        if tolerance.element_wise:
            size = abs(self.scores[0]) + abs(self.scores[1])
            allowed = 2 * (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * size
            if self.margin > allowed:
                return f"{where}, {self.margin:.2g}, is more than float noise"
        if tolerance.flip_margin is not None and share > tolerance.flip_margin:
            return f"{where} is {share:.2g} of the scores' range, over {tolerance.flip_margin:g}"
        return ""


def diverge(run: Runner, vectors: GoldenVectors, pairs: Sequence[StatePair]) -> Divergence:
    """A model's greedy text beside the source's, up to the first other token."""
    start, expected = _start(vectors, pairs)
    steps = vectors.case.steps
    for step, scores in enumerate(greedy_scores(run, start, pairs, steps)):
        if np.argmax(scores) != expected[step]:
            best, second = vectors.outputs[start.output][step].tolist()
            return Divergence(start.output, steps, step, (best, second))
    return Divergence(start.output, steps)


def _start(vectors: GoldenVectors, pairs: Sequence[StatePair]) -> tuple[TextStart, Array]:
    state = {pair.input: vectors.inputs[pair.input] for pair in pairs}
    (token_input,) = vectors.inputs.keys() - state.keys()
    (output,) = vectors.outputs
    text = vectors.inputs[token_input]
    axis = int(np.argmax(text.shape))
    prompt, rest = np.split(text, [text.shape[axis] - vectors.case.steps], axis)
    whole = any(size > 1 for size in vectors.case.sizes.values())
    start = TextStart(token_input, output, prompt, axis, state, whole)
    return start, rest.reshape(-1)
