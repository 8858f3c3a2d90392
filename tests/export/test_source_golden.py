"""What the source is asked of sequences: steps from its own state, parts, greedy text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.export.errors import SourceError
from edgedl.export.interface import Interface
from edgedl.export.request import ExportRequest
from edgedl.export.samples import Samples
from edgedl.export.source_golden import add_sequences, ask_source, text_start
from edgedl.export.study import study_source
from edgedl.runtime.golden import Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import StatePair, TensorSpec, TextGeneration, Vocabulary
from tests.export.fake_source import lstm_source

CLASSES = 8
TOKENS = TensorSpec("tokens", "int64", ("batch", "time"))
H = TensorSpec("h", "float32", ("batch", 3))
SCORES = TensorSpec("scores", "float32", ("batch", "time", CLASSES))
H_OUT = TensorSpec("h_out", "float32", ("batch", 3))
STATE = (StatePair("h", "h_out"),)
RNG = np.random.default_rng(0)
EMBEDDING = RNG.standard_normal((CLASSES, 3)).astype(np.float32)
OUT = RNG.standard_normal((3, CLASSES)).astype(np.float32)


def writer(feeds: Arrays) -> Arrays:
    """A causal model: its state is a decaying sum of embeddings."""
    h, scores = feeds["h"], []
    for token in feeds["tokens"].T:
        h = np.float32(0.5) * h + EMBEDDING[token]
        scores.append(h @ OUT)
    return {"scores": np.stack(scores, 1), "h_out": h}


def looks_ahead(feeds: Arrays) -> Arrays:
    """A model that reads its sequence from the end, too."""
    there, back = writer(feeds), writer({**feeds, "tokens": feeds["tokens"][:, ::-1]})
    return {**there, "scores": there["scores"] + back["scores"][:, ::-1]}


@dataclass(frozen=True)
class Given:
    """An interface and samples for it."""

    interface: Interface
    samples: Samples


def given(tokens: TensorSpec = TOKENS, high: int = CLASSES, stateful: bool = True) -> Given:
    """Twenty samples of twelve tokens."""
    sizes = {"batch": 20, "time": 12}
    shape = [d if isinstance(d, int) else sizes[d] for d in tokens.shape]
    arrays: dict[str, Any] = {"tokens": RNG.integers(0, high, shape), "h": np.ones((20, 3))}
    arrays["h"] = arrays["h"].astype(np.float32)
    specs, state = ((tokens, H), STATE) if stateful else ((tokens,), ())
    kept = {spec.name: arrays[spec.name] for spec in specs}
    return Given(Interface(specs, (SCORES, H_OUT), state), Samples(kept, specs, "", ""))


def of_kind(golden: list[GoldenVectors], kind: str) -> list[GoldenVectors]:
    """The cases of that kind."""
    return [v for v in golden if v.case.kind == kind]


def prove(ask: Runner, asked: Given, task: TextGeneration | None = None) -> Any:
    """Everything the source is asked."""
    golden, _ = ask_source(ask, asked.interface, asked.samples)
    return add_sequences(ask, asked.interface, asked.samples, golden, task)


def test_forced_steps_start_from_states_of_the_fed_back_run() -> None:
    asked = given()
    golden, _ = ask_source(writer, asked.interface, asked.samples)
    (forced,), steps = of_kind(golden, "forced"), golden[-2]
    assert (steps.case.kind, steps.case.steps) == ("call", 256)
    assert not forced.inputs["h"][0].any()  # the first step
    np.testing.assert_array_equal(forced.outputs["h_out"][-1], steps.outputs["h_out"])
    np.testing.assert_array_equal(forced.outputs["scores"][-1], steps.outputs["scores"][-1])
    assert forced.inputs["h"].shape == (forced.case.steps, 2, 3)
    assert forced.case.steps == 8


def test_a_state_that_grows_has_no_single_steps() -> None:
    def remembers(feeds: Arrays) -> Arrays:
        past = np.concatenate([feeds["past"], feeds["x"]], 1)
        return {"sums": past.sum(1, keepdims=True), "past_out": past}

    specs = (
        TensorSpec("x", "float32", ("batch", 1)),
        TensorSpec("past", "float32", ("batch", "length")),
    )
    arrays = {spec.name: np.ones((20, 1), np.float32) for spec in specs}
    interface = Interface(specs, (), (StatePair("past", "past_out"),))
    golden, _ = ask_source(remembers, interface, Samples(arrays, specs, "", ""))
    (steps,) = [v for v in golden if v.case.steps > 1]
    assert steps.outputs["past_out"].shape == (2, 257)


def test_a_causal_source_is_asked_of_its_variants_in_parts() -> None:
    proof = prove(writer, given())
    (marked,) = [v.case for v in proof.golden if v.case.chunks is not None]
    assert marked.sizes == {"batch": 4, "time": 12}
    assert marked.chunks.lengths == (1, 7, 4)
    assert (marked.chunks.inputs, marked.chunks.outputs) == ({"tokens": 1}, {"scores": 1})
    assert proof.in_parts == "the same as in one call"


def test_a_source_that_looks_ahead_is_no_error_but_told() -> None:
    proof = prove(looks_ahead, given())
    assert all(v.case.chunks is None for v in proof.golden)
    assert proof.in_parts.startswith("differs from one call: scores: max |a-b|")


def test_a_source_that_refuses_short_sequences_is_not_cut() -> None:
    def refuses(feeds: Arrays) -> Arrays:
        if feeds["tokens"].shape[1] == 7 and (feeds["h"] != 1).any():  # no golden call
            raise SourceError("seven is too few")
        return writer(feeds)

    proof = prove(refuses, given())
    assert all(v.case.chunks is None for v in proof.golden)
    assert proof.in_parts == "the source takes none of [1, 7, 4]: seven is too few"


def test_a_source_that_refuses_the_text_writes_none() -> None:
    def refuses(feeds: Arrays) -> Arrays:
        if feeds["tokens"].shape[1] == 16:  # the prompt
            raise SourceError("too long")
        return writer(feeds)

    assert not of_kind(prove(refuses, given()).golden, "text")


def test_text_starts_with_real_tokens_and_goes_on_greedily() -> None:
    asked = given()
    (text,) = of_kind(prove(writer, asked).golden, "text")
    tokens = text.inputs["tokens"]
    assert (tokens.shape, text.case.steps) == ((1, 16 + 48), 48)
    real = asked.samples.arrays["tokens"].reshape(-1)[:16]
    np.testing.assert_array_equal(tokens[0, :16], real)
    whole = writer({"tokens": tokens, "h": np.zeros((1, 3), np.float32)})["scores"][0]
    np.testing.assert_array_equal(tokens[0, 16:], np.argmax(whole[15:-1], -1))
    np.testing.assert_allclose(text.outputs["scores"][:, 0], whole[15:-1].max(-1), rtol=1e-5)


def test_a_step_model_reads_its_prompt_token_by_token() -> None:
    lengths = set()

    def watched(feeds: Arrays) -> Arrays:
        lengths.add(feeds["tokens"].shape[1])
        return writer(feeds)

    asked = given(TensorSpec("tokens", "int64", ("batch", 1)))
    (text,) = of_kind(prove(watched, asked).golden, "text")
    assert text.inputs["tokens"].shape == (1, 64)
    assert lengths == {1}


@pytest.mark.parametrize(
    ("asked", "task", "writes"),
    [
        (given(), None, True),
        (given(high=CLASSES + 5), None, False),  # tokens that are no classes: a tagger
        (given(stateful=False), None, False),
        (given(stateful=False), TextGeneration("tokens", "scores", Vocabulary(("a",), 0)), True),
        (given(TensorSpec("tokens", "int64", ("batch", 12))), None, False),
    ],
)
def test_only_what_writes_text_is_asked_to(
    asked: Given, task: TextGeneration | None, writes: bool
) -> None:
    assert (text_start(asked.interface, asked.samples, task) is not None) is writes


def test_text_without_state_is_no_longer_than_the_samples() -> None:
    def reads_all(feeds: Arrays) -> Arrays:
        h = np.zeros((len(feeds["tokens"]), 3), np.float32)
        return {"scores": writer({**feeds, "h": h})["scores"]}

    task = TextGeneration("tokens", "scores", Vocabulary(("a",), 0))
    (text,) = of_kind(prove(reads_all, given(stateful=False), task).golden, "text")
    assert (text.inputs["tokens"].shape, text.case.steps) == ((1, 12), 9)


def test_a_stateful_source_of_floats_has_steps_and_parts_but_no_text(tmp_path: Path) -> None:
    study = study_source(lstm_source(), ExportRequest("m", tmp_path / "b"))
    kinds = [v.case.kind for v in study.reference.golden]
    assert (kinds.count("forced"), kinds.count("text")) == (1, 0)
    assert study.in_parts == "the same as in one call"
