"""What a model has read of several texts, and the scores of each one's next token.

Texts of different lengths are read without padding, which would run through a recurrent
state. From then on all texts take a token at a time together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgedl.runtime.errors import InputError
from edgedl.runtime.manifest import TextGeneration, dynamic_axes

if TYPE_CHECKING:
    from edgedl.runtime.golden import Array, Arrays
    from edgedl.runtime.session import Model
    from edgedl.runtime.stream import Stream

Tokens = Sequence[int]

# Scores come at every position of a prompt, and only the last are needed: 64 MiB of float32.
MOST_SCORES = 2**24


class Context(Protocol):
    """Texts being read, a row each.

    Scores are (rows, vocabulary), and good until the next call.
    """

    def read(self, texts: Sequence[Tokens]) -> Array:
        """Read every text from its beginning."""

    def step(self, tokens: Tokens) -> Array:
        """Read one more token of every text."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only."""


class TextModel:
    """A model as texts go through it.

    Raises:
        InputError: Its inputs or outputs are none that text can go through.
    """

    def __init__(self, model: Model, task: TextGeneration) -> None:
        self.model = model
        self.input, self.output = task.input, task.output
        self.pairs = model.manifest.state
        fed_back = {pair.input for pair in self.pairs}
        self._state = [t for t in model.inputs if t.name in fed_back]
        tokens = next(t for t in model.inputs if t.name == task.input)
        scores = next(t for t in model.outputs if t.name == task.output)
        others = [t.name for t in model.inputs if t.name not in {*fed_back, task.input}]
        if others:
            raise InputError(f"text generation feeds {task.input!r} only, not {others[0]!r}")
        if len(tokens.shape) != 2 or tokens.shape[1] in dynamic_axes(self._state):
            raise InputError(f"text generation feeds (batch, time), not {tokens}")
        if not scores.dtype.startswith("float") or len(scores.shape) not in (2, 3):
            raise InputError(
                f"text is drawn from scores, (batch[, time], vocabulary), not from {scores}",
                "export the model without --output",
            )
        self._classes = len(task.classes)
        self.dtype = tokens.dtype
        self.batch, self.time = tokens.shape
        self._last = (slice(None), -1) if len(scores.shape) == 3 else (slice(None),)
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.batch != 1 and isinstance(self.batch, int):
            raise InputError(
                f"the model reads {self.batch} texts at a time, no more and no less",
                f"export it with --dynamic {self.input}:0=batch",
            )
        if not self.pairs:
            return
        if self.time != 1 and isinstance(self.time, int):
            raise InputError(
                f"the model keeps a state and reads {self.time} tokens at a time, not one",
                f"export it with --dynamic {self.input}:1=time",
            )
        grown = [axis for axis in dynamic_axes(self._state) if axis != self.batch]
        if grown:
            raise InputError(f"the model's state has an axis {grown[0]!r} of no fixed size")

    @property
    def least(self) -> int:
        """How many tokens a text must have for its next one to be asked for."""
        return self.time if isinstance(self.time, int) and not self.pairs else 1

    def most(self, rows: int) -> int:
        """How many tokens of so many texts are read in one call, where a state goes on."""
        return 1 if self.time == 1 else max(1, MOST_SCORES // (rows * self._classes))

    @property
    def takes_rows(self) -> bool:
        """Whether one call takes several texts, their states side by side."""
        return isinstance(self.batch, str) and len(self.state_axes) == len(self._state)

    @property
    def state_axes(self) -> dict[str, int]:
        """The batch axis of every state input that has a dynamic one."""
        return {
            t.name: t.shape.index(self.batch)
            for t in self._state
            if isinstance(self.batch, str) and self.batch in t.shape
        }

    def run(self, texts: Sequence[Tokens] | Array, state: Arrays) -> tuple[Array, Arrays]:
        """Scores after texts of one length, (rows, vocabulary), and the state then."""
        outputs = self.model.run_feeds({self.input: np.asarray(texts, self.dtype), **state})
        scores = self.scores(outputs)
        if scores.shape[-1] != self._classes:
            raise InputError(
                f"{self._classes} tokens in the vocabulary, but {scores.shape[-1]} scores in "
                f"{self.output!r}",
                "export the bundle again, its vocabulary whole",
            )
        return scores, {pair.input: outputs[pair.output] for pair in self.pairs}

    def scores(self, outputs: Mapping[str, Array]) -> Array:
        """The last position's scores, (rows, vocabulary), of what the model answered."""
        return outputs[self.output][self._last]

    def take(self, state: Arrays, rows: Sequence[int], count: int) -> Arrays:
        """The state of these rows, of so many."""
        if len(rows) == count:
            return state
        return {name: state[name].take(rows, axis) for name, axis in self.state_axes.items()}

    def stream(self, rows: int) -> Stream:
        """A stream of so many texts."""
        return self.model.stream(**({str(self.batch): rows} if self.state_axes else {}))

    def context(self) -> Context:
        """A context that has read nothing yet."""
        return StatefulContext(self) if self.pairs else WindowContext(self)


class StatefulContext:
    """Texts whose past is in a state; a step copies nothing but the tokens."""

    def __init__(self, model: TextModel) -> None:
        self._model = model

    def read(self, texts: Sequence[Tokens]) -> Array:
        """Read every text from its beginning: all as far as the shortest in one call, and so on."""
        order: list[int] = []
        read: list[tuple[Array, Arrays]] = []
        state: Arrays = {}
        rows, done = list(range(len(texts))), 0
        for length in sorted({len(text) for text in texts}):
            scores, state = self._read_on([texts[row][done:length] for row in rows], state)
            ended = [place for place, row in enumerate(rows) if len(texts[row]) == length]
            going = [place for place, row in enumerate(rows) if len(texts[row]) > length]
            read.append((scores[ended], self._model.take(state, ended, len(rows))))
            order += [rows[place] for place in ended]
            state = self._model.take(state, going, len(rows)) if going else {}
            rows, done = [rows[place] for place in going], length
        return self._gather(read, np.argsort(order))

    def _gather(self, read: Sequence[tuple[Array, Arrays]], order: Array) -> Array:
        """Go on from the states of texts that were read apart, in this order; their scores."""
        scores, state = read[0]
        if len(read) > 1:
            scores = np.concatenate([scores for scores, _ in read])[order]
            state = {
                name: np.concatenate([state[name] for _, state in read], axis).take(order, axis)
                for name, axis in self._model.state_axes.items()
            }
        self._go_on(len(order), state)
        return scores

    def _read_on(self, texts: Sequence[Tokens], state: Arrays) -> tuple[Array, Arrays]:
        """Read texts of one length from a state; none for the beginning."""
        tokens, most = np.asarray(texts, self._model.dtype), self._model.most(len(texts))
        scores, state = self._model.run(tokens[:, :most], state)
        for start in range(most, tokens.shape[1], most):
            scores, state = self._model.run(tokens[:, start : start + most], state)
        return scores, state

    def _go_on(self, rows: int, state: Arrays) -> None:
        """Bind a step of so many texts, from this state."""
        self._stream = self._model.stream(rows)
        self._stream.set_state(state)
        self._call = self._stream.bind()
        self._tokens = self._call.inputs[self._model.input][:, 0]

    def step(self, tokens: Tokens) -> Array:
        """Read one more token of every text."""
        self._tokens[:] = tokens
        return self._model.scores(self._call())

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only."""
        before = len(self._tokens)
        self._go_on(len(rows), self._model.take(self._stream.state(), rows, before))


class WindowContext:
    """Texts that a model without state reads again whole at every step.

    A model of a fixed length reads as much of the end; a text has to be that long.
    """

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._texts: list[list[int]] = []

    def read(self, texts: Sequence[Tokens]) -> Array:
        """Read every text from its beginning."""
        self._texts = [list(text) for text in texts]
        return self._run()

    def step(self, tokens: Tokens) -> Array:
        """Read one more token of every text."""
        for text, token in zip(self._texts, tokens, strict=True):
            text.append(token)
        return self._run()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only."""
        self._texts = [self._texts[row] for row in rows]

    def _run(self) -> Array:
        window = self._model.time
        seen = [t[-window:] for t in self._texts] if isinstance(window, int) else self._texts
        groups = _by_length(seen)
        scores = [self._model.run([seen[row] for row in rows], {})[0] for rows in groups]
        return np.concatenate(scores)[np.argsort(np.concatenate(groups))]


def _by_length(texts: Iterable[Tokens]) -> list[list[int]]:
    """The rows of the texts of each length."""
    groups: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        groups.setdefault(len(text), []).append(row)
    return list(groups.values())
