"""A token is drawn from the softmax of the scores, or from the likeliest part of it."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from edgedl.runtime.errors import EngineError, InputError
from edgedl.runtime.manifest import Vocabulary
from edgedl.runtime.sampling import Sampling, token_choice, top_k, top_p

# Odds of 1 : 2 : 3 : 4; the unknown token, the likeliest by far, is never drawn.
ODDS = {1: 1, 2: 2, 3: 3, 4: 4}
LOGITS = np.log(np.array([1000, 1, 2, 3, 4])).astype(np.float32)
VOCABULARY = Vocabulary(("?", "a", "b", "c", "d"), unknown=0)
# Chi-square's 99.9th percentile by degrees of freedom: any table of it.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 99: 148.23}


def drawn(
    count: int, logits: np.ndarray = LOGITS, vocabulary: Vocabulary = VOCABULARY, **how: object
) -> Counter[int]:
    choose = token_choice(Sampling(**{"seed": 0, **how}), vocabulary)  # type: ignore[arg-type]
    return Counter(choose(logits) for _ in range(count))


def assert_drawn_by(odds: dict[int, float], found: Counter[int]) -> None:
    """Pearson's chi-square over exactly these tokens."""
    assert found.keys() == odds.keys()
    expected = {t: found.total() * share / sum(odds.values()) for t, share in odds.items()}
    distance = sum((found[t] - expected[t]) ** 2 / expected[t] for t in odds)
    assert distance < CHI_SQUARE[len(odds) - 1]


@pytest.mark.parametrize("seed", range(3))
def test_tokens_are_drawn_from_the_softmax(seed: int) -> None:
    assert_drawn_by(ODDS, drawn(4000, seed=seed))


def test_a_temperature_is_a_power_of_the_odds() -> None:
    assert_drawn_by({t: n**2 for t, n in ODDS.items()}, drawn(4000, temperature=0.5))
    assert_drawn_by({t: n**0.5 for t, n in ODDS.items()}, drawn(4000, temperature=2.0))
    assert_drawn_by(dict.fromkeys(ODDS, 1), drawn(4000, temperature=math.inf))


def test_a_large_vocabulary_is_drawn_from_the_softmax() -> None:
    tokens = tuple(f"t{number}" for number in range(32_001))
    logits = np.full(len(tokens), -40, np.float16)
    logits[::320] = np.log(np.arange(101) + 1.0)
    odds = {320 * n: n + 1.0 for n in range(101) if n != 50}
    exact = {t: float(np.exp(np.float64(logits[t]))) for t in odds}  # as float16 holds them
    assert_drawn_by(exact, drawn(8000, logits, Vocabulary(tokens, unknown=320 * 50)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_top_k_draws_from_the_k_likeliest_by_their_odds(count: int) -> None:
    kept = {t: n for t, n in ODDS.items() if n > 4 - count}
    found = drawn(2000, top_k=count)
    if count == 1:
        assert found.keys() == kept.keys()
    else:
        assert_drawn_by(kept, found)


@pytest.mark.parametrize("count", [4, 5, 1000])
def test_a_top_k_that_leaves_all_changes_nothing(count: int) -> None:
    assert drawn(50, top_k=count) == drawn(50)


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0, [4]),
        (0.39, [4]),
        (0.41, [4, 3]),
        (0.69, [4, 3]),
        (0.71, [4, 3, 2]),
        (0.95, [4, 3, 2, 1]),
    ],
)
def test_top_p_draws_from_the_fewest_that_reach_it(share: float, kept: list[int]) -> None:
    found = drawn(2000, top_p=share)
    assert sorted(found) == sorted(kept)
    if len(kept) > 1:
        assert_drawn_by({t: ODDS[t] for t in kept}, found)


def test_top_p_is_of_what_top_k_leaves() -> None:
    # Of 3 : 4 the likelier has 0.57, of 1 : 2 : 3 : 4 it has 0.4.
    assert drawn(300, top_k=2, top_p=0.5).keys() == {4}
    assert drawn(300, top_p=0.5).keys() == {3, 4}


def test_top_k_keeps_exactly_k_and_of_equals_the_first() -> None:
    scores = np.array([2.0, 5, 2, 7, 2, -math.inf, 5])
    for count, kept in ((1, [3]), (2, [1, 3]), (3, [1, 3, 6]), (4, [0, 1, 3, 6])):
        assert top_k(scores, count).tolist() == kept
    assert top_k(np.zeros(9), 4).tolist() == [0, 1, 2, 3]


def test_top_p_sorts_out_the_light_ones_without_losing_any_it_needs() -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 500):
        weights = rng.exponential(size=size) ** 4
        order = np.argsort(-weights)
        for share in (0.01, 0.5, 0.9, 0.999):
            reached = np.cumsum(weights[order]) / weights.sum()
            fewest = order[: int(np.argmax(reached >= share)) + 1]
            assert top_p(weights, share).tolist() == fewest.tolist()
    assert top_p(np.ones(4), 1.0).tolist() == [0, 1, 2, 3]


def test_greedy_takes_the_first_of_the_likeliest_but_never_the_unknown_one() -> None:
    logits = np.array([1, 9, 4, 4], np.float32)
    assert drawn(3, logits, Vocabulary(("a", "?", "b", "c"), 1), temperature=0) == {2: 3}
    assert drawn(3, logits, Vocabulary(("a", "b", "c", "?"), 3), temperature=0) == {1: 3}
    assert logits.tolist() == [1, 9, 4, 4]


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 0.001])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    assert drawn(50, temperature=temperature).keys() == {4}
    assert drawn(50, LOGITS * np.float32(1e30), temperature=temperature).keys() == {4}


@pytest.mark.parametrize("temperature", [5e-324, 1.0, math.inf])
@pytest.mark.filterwarnings("error")
def test_a_score_of_minus_infinity_is_never_drawn(temperature: float) -> None:
    logits = np.array([0, -math.inf, 1, -math.inf, 1], np.float32)
    for how in ({}, {"top_k": 3}, {"top_p": 0.999}):
        found = drawn(200, logits, temperature=temperature, **how)
        assert found.keys() == {2, 4}


@pytest.mark.parametrize("how", [{"temperature": 0}, {}, {"top_k": 2}, {"top_p": 0.5}])
@pytest.mark.parametrize("score", [math.nan, -math.inf])
@pytest.mark.filterwarnings("error")
def test_scores_that_are_no_numbers_are_an_error(how: dict[str, float], score: float) -> None:
    with pytest.raises(EngineError, match="no numbers"):
        drawn(1, np.full(5, score, np.float32), **how)


def test_one_score_that_is_no_number_is_an_error_too() -> None:
    logits = LOGITS.copy()
    logits[2] = math.nan
    for temperature in (0, 1):
        with pytest.raises(EngineError, match="no numbers"):
            drawn(1, logits, temperature=temperature)


def test_the_draws_of_a_seed_are_these_on_every_machine() -> None:
    # From PCG64's raw stream: SeedSequence(2024), 53 bits each, laid over 1 : 2 : 3 : 4.
    shares = (np.random.PCG64(2024).random_raw(24) >> 11) * 2.0**-53
    expected = [1 + int(np.searchsorted([0.1, 0.3, 0.6], share, "right")) for share in shares]
    choose = token_choice(Sampling(seed=2024), VOCABULARY)
    assert [choose(LOGITS) for _ in range(24)] == expected
    assert "".join(map(str, expected)) == "423442123234231344332324"


def test_a_row_is_drawn_as_with_the_seed_after_it() -> None:
    def draws(seed: int | None, row: int) -> list[int]:
        choose = token_choice(Sampling(seed=seed), VOCABULARY, row)
        return [choose(LOGITS) for _ in range(40)]

    assert draws(7, 2) == draws(9, 0)
    assert draws(7, 0) != draws(7, 1)
    assert draws(None, 0) != draws(None, 0)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": -0.1}, "top_p is -0.1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"stop": ("a", "")}, "a stop string is empty"),
        ({"stop": (1,)}, "not text"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"max_tokens": None}, "max_tokens is None"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"top_k": "3"}, "top_k is '3'"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_p": None}, "top_p is None"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(how: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampling(**how)  # type: ignore[arg-type]
