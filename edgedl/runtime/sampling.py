"""How the next token is chosen from a model's scores: greedily, or drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgedl.runtime.errors import EngineError, InputError
from edgedl.runtime.manifest import Vocabulary

if TYPE_CHECKING:
    from edgedl.runtime.golden import Array

# A temperature is held between these, so that dividing by it neither overflows nor turns a
# score of minus infinity into NaN. At the least one only ties are drawn among, at the largest
# every token is as likely as another.
LEAST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-200, 1e300

Draw = Callable[["Array"], int]


@dataclass(frozen=True)
class Sampling:
    """How text goes on, and where it ends.

    Args:
        max_tokens: How many tokens to generate at most.
        temperature: Divides the scores; 0 always takes the likeliest token.
        seed: Makes the text repeatable; None draws a fresh one.
        top_k: Only the K likeliest tokens are drawn from; all for None.
        top_p: Only the fewest likeliest tokens that together reach this probability are
            drawn from, at least one.
        stop: Strings that end the text.

    Raises:
        InputError: A value that makes no sense.
    """

    max_tokens: int = 200
    temperature: float = 1.0
    seed: int | None = None
    top_k: int | None = None
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for valid, problem in (
            (_whole(self.max_tokens, 0), f"max_tokens is {self.max_tokens!r}; it starts at 0"),
            (_number(self.temperature), f"temperature is {self.temperature!r}; it starts at 0"),
            (_whole(self.seed, 0, None), f"seed is {self.seed!r}; it starts at 0"),
            (_whole(self.top_k, 1, None), f"top_k is {self.top_k!r}; it starts at 1"),
            (_number(self.top_p, 1), f"top_p is {self.top_p!r}; it is from 0 to 1"),
            ("" not in self.stop, "a stop string is empty"),
            (all(isinstance(text, str) for text in self.stop), f"stop is {self.stop!r}, not text"),
        ):
            if not valid:
                raise InputError(problem)


def _whole(value: object, least: int, *others: object) -> bool:
    """Whether it is a whole number from `least` on, NumPy's included, or one of the others."""
    return value in others or (isinstance(value, (int, np.integer)) and int(value) >= least)


def _number(value: object, most: float = math.inf) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and 0 <= float(value) <= most


def token_choice(sampling: Sampling, vocabulary: Vocabulary, row: int = 0) -> Draw:
    """What chooses one text's tokens: from scores, (vocabulary,), a token's number.

    It never gives the unknown token. Row `row` of a batch is drawn as a text of its own with
    the seed `sampling.seed + row` is.
    """
    if sampling.temperature == 0:
        return lambda logits: likeliest(logits, vocabulary.unknown)
    seed = None if sampling.seed is None else sampling.seed + row
    return Sampler(sampling, vocabulary, seed).draw


def likeliest(logits: Array, unknown: int) -> int:
    """The token with the largest score, the first of equals; never the unknown one."""
    token = int(logits.argmax())
    if token == unknown:
        logits = logits.copy()
        logits[unknown] = -math.inf
        token = int(logits.argmax())
    if not logits[token] > -math.inf:
        raise _no_scores()
    return token


class Sampler:
    """Draws tokens for one text; its buffers and its random numbers are its own.

    A token takes one number of PCG64's raw stream, which NumPy promises to keep: so the
    same scores and seed give the same text with any NumPy, on any machine.
    """

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, seed: int | None) -> None:
        size = len(vocabulary.tokens)
        self._unknown = vocabulary.unknown
        self._temperature = min(max(sampling.temperature, LEAST_TEMPERATURE), LARGEST_TEMPERATURE)
        self._top_k = sampling.top_k if sampling.top_k and sampling.top_k < size else None
        self._top_p = sampling.top_p
        self._raw = np.random.PCG64(seed).random_raw
        self._scores = np.empty(size)
        self._sums = np.empty(size)

    def draw(self, logits: Array) -> int:
        """A token from the softmax of scores, (vocabulary,)."""
        weights = self._scores  # until they are exponentiated, scores
        weights[...] = logits
        weights[self._unknown] = -math.inf
        largest = weights.max()
        if not -math.inf < largest < math.inf:
            raise _no_scores()
        kept = None
        if self._top_k is not None:
            kept = top_k(weights, self._top_k)
            weights = weights[kept]
        weights -= largest  # no weight overflows, whatever the temperature
        weights /= self._temperature
        np.exp(weights, out=weights)
        if self._top_p < 1:
            fewest = top_p(weights, self._top_p)
            kept = fewest if kept is None else kept[fewest]
            weights = weights[fewest]
        place = self._place(weights)
        return place if kept is None else int(kept[place])

    def _place(self, weights: Array) -> int:
        """A place, as likely as its weight; one that weighs nothing is never drawn."""
        sums = np.add.accumulate(weights, out=self._sums[: len(weights)])
        share = (self._raw() >> 11) * 2.0**-53  # [0, 1), as NumPy's own `random` makes it
        place = int(sums.searchsorted(share * sums[-1], "right"))
        # The product may round up to the whole sum.
        return place if place < len(sums) else int(sums.searchsorted(sums[-1]))


def top_k(scores: Array, count: int) -> Array:
    """The places of the `count` largest scores, in order; of equals, the first."""
    cut = len(scores) - count
    least = np.partition(scores, cut)[cut]
    kept: Array = (scores >= least).nonzero()[0]
    if len(kept) == count:
        return kept
    above, equal = (scores > least).nonzero()[0], (scores == least).nonzero()[0]
    return np.sort(np.concatenate([above, equal[: count - len(above)]]))


def top_p(weights: Array, share: float) -> Array:
    """The fewest places whose weights reach a share of all, the heaviest first; at least one."""
    total = weights.sum()
    # Places that weigh at most this are together at most what may be left out: the rest reach
    # the share without them, and only the rest need sorting.
    light = (1 - share) * total / len(weights)
    heavy: Array = (weights >= light).nonzero()[0]
    heavy = heavy[(-weights[heavy]).argsort(kind="stable")]
    sums = np.add.accumulate(weights[heavy])
    return heavy[: int(sums.searchsorted(share * total)) + 1]


def _no_scores() -> EngineError:
    return EngineError(
        "the model's scores are no numbers that a token can be drawn from",
        "prove the variant on this device: `edgedl parity`",
    )
