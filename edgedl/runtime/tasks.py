"""Ready-made tasks over a session: an image classifier and a text generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgedl.runtime.errors import InputError
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import ImageClassification, TensorSpec, TextGeneration, Vocabulary

if TYPE_CHECKING:
    from edgedl.runtime.session import Model


@dataclass(frozen=True)
class Prediction:
    """A label, its score, and every label's score in the labels' order.

    A model whose output is the K best classes gives only their scores, the best first; one
    whose output is the class itself gives none, and the score is NaN.
    """

    label: str
    score: float
    scores: dict[str, float]


class Classifier:
    """An image classifier over a model whose task is image classification."""

    def __init__(self, model: Model) -> None:
        task = model.manifest.task
        if not isinstance(task, ImageClassification):
            raise InputError(
                f"{model.manifest.name!r} is no image classifier", "call run() on the model"
            )
        self.model = model
        self.task = task
        self._spec = next(t for t in model.inputs if t.name == task.input)

    @property
    def image_size(self) -> tuple[int, int, int]:
        """Height, width and channels the model wants; dynamic sizes are 0."""
        dims = [d if isinstance(d, int) else 0 for d in self._spec.shape[1:]]
        if len(dims) != 3:
            raise InputError(f"{self._spec} is not a batch of images")
        return (dims[1], dims[2], dims[0]) if self.task.layout == "NCHW" else (*dims,)  # type: ignore[return-value]

    def classify(self, image: Array) -> Prediction:
        """The label of one image.

        Args:
            image: uint8 pixels, (height, width) or (height, width, channels), of the
                size in `image_size`; scaled as the task says.
        """
        values = self.model.run_feeds({self.task.input: self.prepare(image)})
        labels, answer = self.task.labels, values[self.task.output][0]
        for decision in self.model.manifest.decisions:
            if decision.output == self.task.output:
                scores = values[decision.values][0].tolist() if decision.values else [math.nan]
                chosen = [labels[number] for number in np.atleast_1d(answer)]
                known = zip(chosen, scores, strict=True) if decision.values else ()
                return Prediction(chosen[0], scores[0], dict(known))
        scores = answer.tolist()
        best = int(np.argmax(scores))
        return Prediction(labels[best], scores[best], dict(zip(labels, scores, strict=True)))

    def prepare(self, image: Array) -> Array:
        """Pixels as the model's input, a batch of one."""
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise InputError(
                f"an image is uint8 (height, width[, channels]), not {image.dtype} "
                f"{list(image.shape)}"
            )
        pixels = image[..., None] if image.ndim == 2 else image
        if self._spec.dtype != "uint8":
            pixels = (pixels * self.task.scale + self.task.offset).astype(self._spec.dtype)
        if self.task.layout == "NCHW":
            pixels = np.moveaxis(pixels, -1, 0)
        return np.ascontiguousarray(pixels[None])


class TextGenerator:
    """Text, character by character, from a model whose task is text generation."""

    def __init__(self, model: Model) -> None:
        task = model.manifest.task
        if not isinstance(task, TextGeneration):
            raise InputError(
                f"{model.manifest.name!r} generates no text", "call run() on the model"
            )
        self.model = model
        self.task = task
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
    ) -> Iterator[str]:
        """Continue a prompt, one piece at a time.

        Args:
            prompt: At least one character; it is read in one call.
            max_tokens: How many tokens to generate.
            temperature: Divides the logits; 0 always takes the likeliest token.
            seed: Makes the text repeatable; None draws a fresh one.

        Yields:
            The text of each token. The unknown token is never generated.
        """
        if not prompt:
            raise InputError("the prompt is empty", "give at least one character")
        if max_tokens < 0 or not temperature >= 0:
            raise InputError("max_tokens and temperature can't be negative")
        return self._generate(prompt, max_tokens, temperature, np.random.default_rng(seed))

    def _generate(
        self, prompt: str, max_tokens: int, temperature: float, rng: np.random.Generator
    ) -> Iterator[str]:
        vocabulary = self.task.vocabulary
        dtype = self._input().dtype
        stream = self.model.stream()
        tokens = np.array([self.encode(prompt)], dtype)  # (1, time)
        for _ in range(max_tokens):
            logits = stream.step(**{self.task.input: tokens})[self.task.output][0, -1]
            token = sample_token(logits, vocabulary, temperature, rng)
            yield vocabulary.tokens[token]
            tokens = np.array([[token]], dtype)

    def _input(self) -> TensorSpec:
        return next(t for t in self.model.inputs if t.name == self.task.input)


def sample_token(
    logits: Array, vocabulary: Vocabulary, temperature: float, rng: np.random.Generator
) -> int:
    """Draw a token from logits, (vocabulary,); never the unknown one."""
    scores = logits.astype(np.float64)
    if temperature == 0:
        scores[vocabulary.unknown] = -np.inf
        return int(np.argmax(scores))
    # Gumbel-max: argmax of logits / T plus Gumbel noise is a draw from the softmax. The
    # largest score is taken off first, so that a tiny T can't overflow it.
    noisy = (scores - scores.max()) / temperature + rng.gumbel(size=scores.shape)
    noisy[vocabulary.unknown] = -np.inf
    return int(np.argmax(noisy))
