"""A ready-made task over a session: a text generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

# Here, not at the first draw: NumPy swallows an interrupt that comes during this import.
import numpy.random  # noqa: F401

from edgedl.runtime.context import TextModel
from edgedl.runtime.errors import InputError
from edgedl.runtime.manifest import TextGeneration, Vocabulary
from edgedl.runtime.sampling import Sampling, token_choice
from edgedl.runtime.stops import StopFilter

if TYPE_CHECKING:
    from edgedl.runtime.golden import Array
    from edgedl.runtime.session import Model


class Piece(NamedTuple):
    """What comes next of one text of several; `ended` says that nothing more does.

    `row` is its prompt's place. The text of a last piece may be empty.
    """

    row: int
    text: str
    ended: bool


class TextGenerator:
    """Text, token by token, from a model whose task is text generation."""

    def __init__(self, model: Model) -> None:
        task = model.manifest.task
        if not isinstance(task, TextGeneration):
            raise InputError(
                f"{model.manifest.name!r} generates no text", "call run() on the model"
            )
        self.model = model
        self.task = task
        self._text_model = TextModel(model, task)
        self._numbers = {text: number for number, text in enumerate(task.vocabulary.tokens)}

    def encode(self, text: str) -> list[int]:
        """Token numbers; a character that isn't in the vocabulary is the unknown token."""
        unknown = self.task.vocabulary.unknown
        return [self._numbers.get(character, unknown) for character in text]

    def generate(
        self,
        prompt: str,
        max_tokens: int = 200,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        top_k: int | None = None,
        top_p: float = 1.0,
        stop: str | Iterable[str] = (),
    ) -> Iterator[str]:
        """Continue a prompt, one piece at a time.

        Args:
            prompt: At least one character; it is read in one call.
            max_tokens: How many tokens to generate at most.
            temperature: Divides the logits; 0 always takes the likeliest token.
            seed: Makes the text repeatable; None draws a fresh one.
            top_k: Only the K likeliest tokens are drawn from; all for None.
            top_p: Only the fewest likeliest tokens that together reach this probability
                are drawn from, of those that `top_k` leaves; at least one.
            stop: A string that ends the text, or several. It is not part of the text.

        Yields:
            The text of each token; with `stop`, as much as is known to be no stop string.
            The unknown token is never generated.

        Raises:
            InputError: At the call: an empty prompt, or an option that makes no sense.
            EngineError: ONNX Runtime failed, or the model answered with no numbers.
        """
        sampling = _sampling(max_tokens, temperature, seed, top_k, top_p, stop)
        return self._continue(self._read_prompt(prompt), sampling)

    def generate_batch(
        self,
        prompts: Sequence[str],
        max_tokens: int = 200,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        top_k: int | None = None,
        top_p: float = 1.0,
        stop: str | Iterable[str] = (),
    ) -> Iterator[Piece]:
        """Continue several prompts at once, a token of each in one call.

        Args:
            prompts: At least one character each; what they have in length is read in one call.
            max_tokens: Of each text.
            temperature: As for `generate`.
            seed: Row i's text is what `generate(prompts[i], seed=seed + i)` gives, up to
                what other rows change in its logits: see docs/text.md.
            top_k: As for `generate`.
            top_p: As for `generate`.
            stop: As for `generate`; a text that ended is no part of later calls.

        Yields:
            The texts' pieces as they come, (row, text, ended).

        Raises:
            InputError: As for `generate`.
            EngineError: As for `generate`.
        """
        sampling = _sampling(max_tokens, temperature, seed, top_k, top_p, stop)
        if isinstance(prompts, str):
            raise InputError("prompts is one text", "give a list of them, or call generate()")
        read = [self._read_prompt(prompt) for prompt in prompts]
        return self._continue_all(read, sampling)

    def _read_prompt(self, prompt: str) -> list[int]:
        if not isinstance(prompt, str):
            raise InputError(f"the prompt is {type(prompt).__name__}, not str", "decode it first")
        if not prompt:
            raise InputError("the prompt is empty", "give at least one character")
        least = self._text_model.least
        if len(prompt) < least:
            raise InputError(
                f"the model keeps no state and reads {least} tokens at a time",
                f"give a prompt of at least {least} characters, not {len(prompt)}",
            )
        return self.encode(prompt)

    def _continue(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[str]:
        if not sampling.max_tokens:
            return
        context = self._text_model.context()
        text = _Text(sampling, self.task.vocabulary, 0)
        scores = context.read([prompt])
        while True:
            if piece := text.add(scores[0]):
                yield piece
            if text.ended:
                return
            scores = context.step([text.token])

    def _continue_all(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling
    ) -> Iterator[Piece]:
        if not sampling.max_tokens or not prompts:
            return
        texts = [_Text(sampling, self.task.vocabulary, row) for row in range(len(prompts))]
        together = self._text_model.takes_rows
        groups = [texts] if together else [[text] for text in texts]
        for group in groups:
            yield from self._continue_group(group, [prompts[text.row] for text in group])

    def _continue_group(
        self, texts: list[_Text], prompts: Sequence[Sequence[int]]
    ) -> Iterator[Piece]:
        context = self._text_model.context()
        scores = context.read(prompts)
        while True:
            for text, row_scores in zip(texts, scores, strict=True):
                piece = text.add(row_scores)
                if piece or text.ended:
                    yield Piece(text.row, piece, text.ended)
            going = [place for place, text in enumerate(texts) if not text.ended]
            if not going:
                return
            if len(going) < len(texts):
                texts = [texts[place] for place in going]
                context.keep(going)
            scores = context.step([text.token for text in texts])


class _Text:
    """One text being written."""

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, row: int) -> None:
        self.row = row
        self.token = vocabulary.unknown  # the last one chosen
        self.ended = False
        self._left = sampling.max_tokens
        self._tokens = vocabulary.tokens
        self._choose = token_choice(sampling, vocabulary, row)
        self._stops = StopFilter(sampling.stop) if sampling.stop else None

    def add(self, scores: Array) -> str:
        """Choose the next token; what of the text can be shown now."""
        self.token = self._choose(scores)
        piece = self._tokens[self.token]
        self._left -= 1
        if self._left <= 0:
            self.ended = True
        if self._stops is None:
            return piece
        shown = self._stops.push(piece)
        self.ended = self.ended or self._stops.ended
        return shown + self._stops.rest() if self.ended else shown


def _sampling(
    max_tokens: int,
    temperature: float,
    seed: int | None,
    top_k: int | None,
    top_p: float,
    stop: str | Iterable[str],
) -> Sampling:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return Sampling(max_tokens, temperature, seed, top_k, top_p, stops)
