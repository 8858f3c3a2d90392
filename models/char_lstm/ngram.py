"""The baseline: a character 3-gram model with Witten-Bell interpolation.

Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4),
1991, method C, interpolated: with c(h) the count of a history and t(h) its distinct continuations,

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))

where h' is h without its oldest character, down to the uniform distribution.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import reduce

import numpy as np

from models.char_lstm.data import Tokens

ORDER = 3

Gram = tuple[int, ...]


@dataclass(frozen=True)
class NGram:
    """Counts of every gram up to the order, and of what follows every history."""

    vocabulary_size: int
    grams: Counter[Gram]
    totals: Counter[Gram]
    continuations: Counter[Gram]

    def probability(self, token: int, history: Gram) -> float:
        """Of a token after up to two tokens, oldest first."""
        # From the empty history to the whole one: (), (b,), (a, b).
        suffixes = [history[len(history) - size :] for size in range(len(history) + 1)]
        return reduce(
            lambda lower, suffix: self._interpolate(token, suffix, lower),
            suffixes,
            1 / self.vocabulary_size,
        )

    def _interpolate(self, token: int, history: Gram, lower: float) -> float:
        if history not in self.totals:
            return lower
        distinct = self.continuations[history]
        return (self.grams[(*history, token)] + distinct * lower) / (
            self.totals[history] + distinct
        )


def count(train: Tokens, vocabulary_size: int) -> NGram:
    """Count a training split."""
    tokens = train.tolist()
    grams: Counter[Gram] = Counter()
    for order in range(1, ORDER + 1):
        grams.update(zip(*(tokens[offset:] for offset in range(order)), strict=False))
    totals: defaultdict[Gram, int] = defaultdict(int)
    for gram, times in grams.items():
        totals[gram[:-1]] += times
    continuations = Counter(gram[:-1] for gram in grams)
    return NGram(vocabulary_size, grams, Counter(totals), continuations)


def nats_per_character(model: NGram, tokens: Tokens) -> float:
    """Mean negative log-probability of every token after the first."""
    sequence = tokens.tolist()
    logs = [
        np.log(model.probability(sequence[i], tuple(sequence[max(0, i - ORDER + 1) : i])))
        for i in range(1, len(sequence))
    ]
    return -float(np.mean(logs))
