"""The generator writes repeatable text, one prompt or several, up to a stop string."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgedl import runtime
from edgedl.runtime import context
from edgedl.runtime.errors import EdgedlError, EngineError, InputError
from edgedl.runtime.manifest import Decision, TensorSpec, TextGeneration, Vocabulary
from tests.graphs import (
    H_IN,
    H_OUT,
    HIDDEN,
    TOKENS,
    TOKENS_IN,
    UNKNOWN,
    change_manifest,
    replace_variant,
    text_answer,
    text_weights,
    write_text_bundle,
)

PROMPTS = ["adc", "b", "e e\na", "abc", "bcd ea", "a"]
SEEN = np.random.default_rng(2).standard_normal((len(TOKENS), len(TOKENS))).astype(np.float32)


@pytest.fixture(scope="module")
def generator(text_bundle: Path) -> runtime.TextGenerator:
    """The text generator's task."""
    return runtime.load(text_bundle, threads=1).generator()


def changed(path: Path, **changes: object) -> runtime.TextGenerator:
    """The generator of a bundle whose manifest says something else."""
    bundle = write_text_bundle(path / "changed.bundle")
    change_manifest(bundle, **changes)
    return runtime.load(bundle, threads=1).generator()


def windowed(
    path: Path, time: int | str = "time", every: bool = True, table: np.ndarray = SEEN
) -> runtime.TextGenerator:
    """A model without state: scores from how often each token was seen so far.

    `every` gives scores at every position, else at the last one.
    """
    scores = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    tokens = helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["batch", time])
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["each"], axis=0),
        helper.make_node("CumSum", ["each", "one"], ["logits" if every else "all"]),
        helper.make_node("Gather", ["all", "last"], ["logits"], axis=1),
    ][: 2 if every else 3]
    constants = [
        numpy_helper.from_array(np.array(value), name)
        for name, value in (("table", table), ("one", 1), ("last", -1))
    ]
    graph = helper.make_graph(nodes, "seen", [tokens], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    bundle = write_text_bundle(path / "windowed.bundle")
    replace_variant(bundle, "fp32", model.SerializeToString())
    shape = ("batch", time, len(TOKENS)) if every else ("batch", len(TOKENS))
    change_manifest(
        bundle,
        inputs=(TensorSpec("tokens", "int64", ("batch", time)),),
        outputs=(TensorSpec("logits", "float32", shape),),
        state=(),
    )
    return runtime.load(bundle, threads=1).generator()


def recurrent_scores(tokens: list[int]) -> np.ndarray:
    zeros = np.zeros((1, 1, HIDDEN), np.float32)
    return text_answer(text_weights(), np.array([tokens]), zeros)[0][0, -1]


def greedy(prompt: str, count: int, scores: object = recurrent_scores, window: int = 999) -> str:
    """Greedy text from a model in NumPy."""
    tokens = [TOKENS.index(character) for character in prompt]
    for _ in range(count):
        logits = scores(tokens[-window:])  # type: ignore[operator]
        logits[UNKNOWN] = -np.inf
        tokens.append(int(np.argmax(logits)))
    return "".join(TOKENS[token] for token in tokens[len(prompt) :])


def texts(pieces: object, count: int) -> list[str]:
    joined = [""] * count
    for row, text, _ in pieces:  # type: ignore[attr-defined]
        joined[row] += text
    return joined


def test_a_model_of_another_task_generates_no_text(classifier_bundle: Path) -> None:
    with pytest.raises(InputError, match="generates no text"):
        runtime.load(classifier_bundle).generator()


def test_a_vocabulary_that_does_not_fit_the_logits_is_refused(tmp_path: Path) -> None:
    task = TextGeneration("tokens", "logits", Vocabulary(TOKENS[:3], UNKNOWN))
    with pytest.raises(EdgedlError, match="vocabulary"):
        changed(tmp_path, task=task)


def test_scores_of_another_number_than_the_vocabulary_are_refused(tmp_path: Path) -> None:
    logits = TensorSpec("logits", "float32", ("batch", "time", "classes"))
    task = TextGeneration("tokens", "logits", Vocabulary(TOKENS[:3], UNKNOWN))
    generator = changed(tmp_path, task=task, outputs=(logits, H_OUT))
    with pytest.raises(InputError, match="3 tokens in the vocabulary, but 8 scores"):
        list(generator.generate("a", 5))


def test_one_text_is_no_list_of_prompts(generator: runtime.TextGenerator) -> None:
    with pytest.raises(InputError, match="one text"):
        generator.generate_batch("abc")


def test_texts_are_written_side_by_side_and_in_threads(generator: runtime.TextGenerator) -> None:
    def write(seed: int) -> str:
        return "".join(generator.generate("abc", 60, seed=seed))

    expected = [write(seed) for seed in range(6)]
    side_by_side = [generator.generate("abc", 60, seed=seed) for seed in range(6)]
    pieces = list(zip(*side_by_side, strict=True))
    assert ["".join(column) for column in zip(*pieces, strict=True)] == expected
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(write, range(6))) == expected


def test_a_seed_makes_text_repeatable(generator: runtime.TextGenerator) -> None:
    written = ["".join(generator.generate("abc", 40, seed=seed)) for seed in (1, 1, 2)]
    assert len(written[0]) == 40
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_without_a_seed_every_text_is_new(generator: runtime.TextGenerator) -> None:
    first, second = ("".join(generator.generate("abc", 60)) for _ in range(2))
    assert first != second
    rows = texts(generator.generate_batch(["abc", "abc"], 60), 2)
    assert rows[0] != rows[1]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_temperature_zero_takes_the_likeliest_token(
    generator: runtime.TextGenerator, prompt: str
) -> None:
    assert "".join(generator.generate(prompt, 15, temperature=0)) == greedy(prompt, 15)


def test_one_token_left_by_top_k_or_top_p_is_the_likeliest(
    generator: runtime.TextGenerator,
) -> None:
    for how in ({"top_k": 1}, {"top_p": 0.0}):
        assert "".join(generator.generate("adc", 15, 5.0, seed=1, **how)) == greedy("adc", 15)


def test_top_k_and_top_p_change_what_is_drawn(generator: runtime.TextGenerator) -> None:
    ways: tuple[dict[str, float], ...] = ({}, {"top_k": 2}, {"top_p": 0.4}, {"top_k": 99})
    written = ["".join(generator.generate("a", 60, seed=1, **how)) for how in ways]  # type: ignore[arg-type]
    assert len(set(written[:3])) == 3
    assert written[3] == written[0]


def test_unseen_characters_become_the_unknown_token(generator: runtime.TextGenerator) -> None:
    assert generator.encode("a\u20acb ") == [1, UNKNOWN, 2, 6]
    assert list(generator.generate("\u20ac", 9, seed=3)) == list(generator.generate("Z", 9, seed=3))


@pytest.mark.parametrize("temperature", [0, 0.01, 1.0, 1e6])
def test_the_unknown_token_is_never_generated(
    generator: runtime.TextGenerator, temperature: float
) -> None:
    written = generator.generate("\u20ac", 200, temperature, seed=1)
    assert TOKENS[UNKNOWN] not in "".join(written)


def test_pieces_come_one_at_a_time(generator: runtime.TextGenerator) -> None:
    assert len(list(islice(generator.generate("a", 10**9, seed=1), 3))) == 3
    assert list(generator.generate("a", 0)) == []


@pytest.mark.parametrize(
    ("prompt", "how", "message"),
    [
        ("", {}, "empty"),
        (b"a", {}, "bytes, not str"),
        (["a"], {}, "list, not str"),
        ("a", {"seed": 1.5}, "seed"),
        ("a", {"max_tokens": -1}, "max_tokens"),
        ("a", {"temperature": math.nan}, "temperature"),
        ("a", {"top_k": 0}, "top_k"),
        ("a", {"top_p": 2.0}, "top_p"),
        ("a", {"stop": ""}, "stop string"),
        ("a", {"stop": ["b", ""]}, "stop string"),
    ],
)
def test_senseless_arguments_are_refused_at_the_call(
    generator: runtime.TextGenerator, prompt: Any, how: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generator.generate(prompt, **how)
    with pytest.raises(InputError, match=message):
        generator.generate_batch(["b", prompt], **how)


def test_text_ends_before_a_stop_string_of_several_pieces(
    generator: runtime.TextGenerator,
) -> None:
    whole = "".join(generator.generate("abc", 60, seed=1))
    for length in (1, 2, 3):
        stop = whole[20 : 20 + length]
        pieces = list(generator.generate("abc", 60, seed=1, stop=stop))
        assert "".join(pieces) == whole[: whole.index(stop)]
        assert "" not in pieces


def test_the_first_of_several_stop_strings_ends_the_text(generator: runtime.TextGenerator) -> None:
    whole = "".join(generator.generate("abc", 60, seed=1))
    stops = [whole[30:32], whole[10:13], "\N{SNOWMAN}"]
    end = min(whole.index(stop) for stop in stops[:2])
    assert "".join(generator.generate("abc", 60, seed=1, stop=stops)) == whole[:end]


def test_what_was_held_back_is_given_at_the_end(generator: runtime.TextGenerator) -> None:
    whole = "".join(generator.generate("abc", 20, seed=1))
    never = whole[-4:] + "\N{SNOWMAN}"
    assert "".join(generator.generate("abc", 20, seed=1, stop=never)) == whole


def test_a_prompt_that_ends_in_a_stop_string_is_continued(
    generator: runtime.TextGenerator,
) -> None:
    whole = "".join(generator.generate("ab", 30, seed=1))
    assert "ab" not in whole[:3]
    assert "".join(generator.generate("ab", 3, seed=1, stop=["ab", "b" + whole[0]])) == whole[:3]


def test_prompts_of_different_lengths_are_continued_as_if_alone(
    generator: runtime.TextGenerator,
) -> None:
    pieces = list(generator.generate_batch(PROMPTS, 15, temperature=0))
    assert texts(pieces, len(PROMPTS)) == [greedy(prompt, 15) for prompt in PROMPTS]
    assert [row for row, _, _ in pieces[: len(PROMPTS)]] == list(range(len(PROMPTS)))
    assert [piece.row for piece in pieces if piece.ended] == list(range(len(PROMPTS)))


@pytest.mark.parametrize("how", [{}, {"top_k": 3}, {"top_p": 0.8}, {"stop": ["d ", "b"]}])
def test_a_row_is_the_text_of_its_own_seed(
    generator: runtime.TextGenerator, how: dict[str, object]
) -> None:
    prompts = [*PROMPTS, "adc"]
    batch = texts(generator.generate_batch(prompts, 40, seed=5, **how), len(prompts))  # type: ignore[arg-type]
    alone = [
        "".join(generator.generate(prompt, 40, seed=5 + row, **how))  # type: ignore[arg-type]
        for row, prompt in enumerate(prompts)
    ]
    assert batch == alone
    assert batch[0] != batch[-1]


def test_a_text_that_ended_says_so_and_leaves_the_others_alone(
    generator: runtime.TextGenerator,
) -> None:
    pieces = list(generator.generate_batch(["a", "b", "c"], 50, seed=3, stop="e"))
    ends = {piece.row: place for place, piece in enumerate(pieces) if piece.ended}
    assert sorted(ends) == [0, 1, 2]
    assert len(set(ends.values())) == 3
    for row, end in ends.items():
        assert all(piece.row != row for piece in pieces[end + 1 :])


def test_no_prompts_or_no_tokens_give_no_pieces(generator: runtime.TextGenerator) -> None:
    assert list(generator.generate_batch([], 5)) == []
    assert list(generator.generate_batch(["a"], 0)) == []


def test_a_model_of_one_text_at_a_time_takes_prompts_in_turn(
    tmp_path: Path, generator: runtime.TextGenerator
) -> None:
    inputs = (
        TensorSpec("tokens", "int64", (1, "time")),
        TensorSpec("h", "float32", (1, 1, HIDDEN)),
    )
    single = changed(tmp_path, inputs=inputs)
    expected = texts(generator.generate_batch(PROMPTS, 9, seed=4), len(PROMPTS))
    pieces = list(single.generate_batch(PROMPTS, 9, seed=4))
    assert texts(pieces, len(PROMPTS)) == expected
    assert [piece.row for piece in pieces] == sorted(piece.row for piece in pieces)
    assert "".join(single.generate("adc", 9, temperature=0)) == greedy("adc", 9)


def test_a_state_of_one_text_goes_with_a_batch_axis_of_any_size(tmp_path: Path) -> None:
    state = TensorSpec("h", "float32", (1, 1, HIDDEN))
    single = changed(tmp_path, inputs=(TOKENS_IN, state))
    batch = single.generate_batch(PROMPTS, 9, temperature=0)
    assert texts(batch, len(PROMPTS)) == [greedy(prompt, 9) for prompt in PROMPTS]


def test_a_model_of_one_token_at_a_time_reads_a_prompt_step_by_step(tmp_path: Path) -> None:
    stepped = changed(tmp_path, inputs=(TensorSpec("tokens", "int64", ("batch", 1)), H_IN))
    assert "".join(stepped.generate("bcd ea", 9, temperature=0)) == greedy("bcd ea", 9)
    batch = stepped.generate_batch(PROMPTS, 9, temperature=0)
    assert texts(batch, len(PROMPTS)) == [greedy(prompt, 9) for prompt in PROMPTS]


@pytest.mark.parametrize("scores", [1, 3 * len(TOKENS), 7 * len(TOKENS)])
def test_a_long_prompt_is_read_in_parts(
    generator: runtime.TextGenerator, monkeypatch: pytest.MonkeyPatch, scores: int
) -> None:
    monkeypatch.setattr(context, "MOST_SCORES", scores)
    assert "".join(generator.generate("bcd ea", 9, temperature=0)) == greedy("bcd ea", 9)
    batch = generator.generate_batch(PROMPTS, 9, temperature=0)
    assert texts(batch, len(PROMPTS)) == [greedy(prompt, 9) for prompt in PROMPTS]


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("time", ["time", 1, 3])
def test_a_model_without_state_reads_the_text_again(
    tmp_path: Path, time: int | str, every: bool
) -> None:
    generator = windowed(tmp_path, time, every)
    window = time if isinstance(time, int) else 999
    expected = [
        greedy(prompt, 12, lambda tokens: SEEN[tokens].sum(0), window)
        for prompt in ("adc", "bcd ea", "cab")
    ]
    assert "".join(generator.generate("adc", 12, temperature=0)) == expected[0]
    batch = generator.generate_batch(["adc", "bcd ea", "cab"], 12, temperature=0)
    assert texts(batch, 3) == expected


def test_a_prompt_shorter_than_a_fixed_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads 3 tokens at a time") as raised:
        windowed(tmp_path, 3).generate("ab", 5)
    assert "at least 3 characters" in raised.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": (TensorSpec("tokens", "int64", (4, "time")), H_IN)}, "reads 4 texts"),
        ({"inputs": (TensorSpec("tokens", "int64", ("batch", 8)), H_IN)}, "reads 8 tokens"),
        ({"inputs": (TensorSpec("tokens", "int64", ("time",)), H_IN)}, r"\(batch, time\)"),
        ({"inputs": (TensorSpec("tokens", "int64", ("time", "batch")), H_IN)}, r"\(batch, time\)"),
        ({"state": ()}, "feeds 'tokens' only, not 'h'"),
        (
            {"inputs": (TOKENS_IN, TensorSpec("h", "float32", (1, "batch", "past")))},
            "axis 'past' of no fixed size",
        ),
        (
            {
                "outputs": (TensorSpec("logits", "int64", ("batch", "time")), H_OUT),
                "decisions": (Decision("logits", "scores"),),
            },
            "drawn from scores",
        ),
    ],
)
def test_a_model_that_text_can_not_go_through_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        changed(tmp_path, **changes)


def test_scores_that_are_no_numbers_end_the_text_with_an_error(tmp_path: Path) -> None:
    table = SEEN.copy()
    table[TOKENS.index("b")] = np.nan
    generator = windowed(tmp_path, table=table)
    with pytest.raises(EngineError, match="no numbers"):
        list(generator.generate("b", 9))
    with pytest.raises(EngineError, match="no numbers"):
        list(generator.generate_batch(["a", "b"], 9, temperature=0))
