"""Streams: steps equal feeding the state back by hand, and nothing is shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedl import runtime
from edgedl.runtime.errors import EngineError, InputError
from tests.graphs import HIDDEN, text_answer, text_tokens, text_weights

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(text_bundle: Path) -> runtime.Model:
    """The text model, loaded."""
    return runtime.load(text_bundle, threads=1)


def test_steps_equal_feeding_back_by_hand(model: runtime.Model) -> None:
    tokens = text_tokens(2, 6)
    stream = model.stream(batch=2)
    h = np.zeros((1, 2, HIDDEN), np.float32)
    for time in range(6):
        by_hand = model.run(tokens=tokens[:, time : time + 1], h=h)
        h = by_hand["h_out"]
        streamed = stream.step(tokens=tokens[:, time : time + 1])
        assert streamed.keys() == {"logits"}
        np.testing.assert_array_equal(streamed["logits"], by_hand["logits"])
        np.testing.assert_array_equal(stream.state()["h"], h)


def test_many_tokens_at_once_equal_one_at_a_time(model: runtime.Model) -> None:
    tokens = text_tokens(1, 7)
    expected, h = text_answer(text_weights(), tokens, np.zeros((1, 1, HIDDEN), np.float32))
    at_once, single = model.stream(), model.stream()
    together = at_once.step(tokens=tokens)["logits"]
    apart = [single.step(tokens=tokens[:, t : t + 1])["logits"] for t in range(7)]
    np.testing.assert_allclose(together, expected, **CLOSE)
    np.testing.assert_allclose(np.concatenate(apart, 1), expected, **CLOSE)
    np.testing.assert_allclose(at_once.state()["h"], h, **CLOSE)
    np.testing.assert_allclose(single.state()["h"], h, **CLOSE)


def test_a_failed_step_leaves_the_state(model: runtime.Model) -> None:
    stream, untouched = model.stream(), model.stream()
    for each in (stream, untouched):
        each.step(tokens=np.array([[1, 2, 3]]))
    before = stream.state()["h"]
    with pytest.raises(EngineError, match=r"fp32\.onnx"):
        stream.step(tokens=np.array([[1, 99]]))
    with pytest.raises(InputError, match="dtype"):
        stream.step(tokens=np.array([[1]], np.int32))
    np.testing.assert_array_equal(stream.state()["h"], before)
    np.testing.assert_array_equal(
        stream.step(tokens=np.array([[4]]))["logits"],
        untouched.step(tokens=np.array([[4]]))["logits"],
    )


def test_nothing_a_stream_returns_changes_later(model: runtime.Model) -> None:
    stream = model.stream()
    tokens = np.array([[1]])
    returned = [stream.step(tokens=tokens)["logits"] for _ in range(4)]
    kept = [array.copy() for array in returned]
    state = stream.state()["h"]
    kept_state = state.copy()
    for _ in range(4):
        stream.step(tokens=tokens)
    for now, then in zip(returned, kept, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(state, kept_state)
    assert not np.array_equal(kept[0], kept[1])


def test_writing_to_what_a_stream_returned_changes_nothing(model: runtime.Model) -> None:
    stream, untouched = model.stream(), model.stream()
    tokens = np.array([[3]])
    stream.step(tokens=tokens)["logits"][:] = 99
    stream.state()["h"][:] = 99
    untouched.step(tokens=tokens)
    np.testing.assert_array_equal(
        stream.step(tokens=tokens)["logits"], untouched.step(tokens=tokens)["logits"]
    )


def test_two_streams_of_one_model_are_independent(model: runtime.Model) -> None:
    alone = model.stream()
    expected = [alone.step(tokens=np.array([[t]]))["logits"] for t in (1, 2, 3)]
    first, second = model.stream(), model.stream()
    for token, logits in zip((1, 2, 3), expected, strict=True):
        second.step(tokens=np.array([[7 - token]]))
        np.testing.assert_array_equal(first.step(tokens=np.array([[token]]))["logits"], logits)


def test_reset_starts_again_from_zero(model: runtime.Model) -> None:
    stream = model.stream()
    first = stream.step(tokens=np.array([[5, 2]]))["logits"]
    assert not np.array_equal(stream.step(tokens=np.array([[5, 2]]))["logits"], first)
    stream.reset()
    np.testing.assert_array_equal(stream.state()["h"], np.zeros((1, 1, HIDDEN)))
    np.testing.assert_array_equal(stream.step(tokens=np.array([[5, 2]]))["logits"], first)


def test_any_memory_layout_will_do(model: runtime.Model) -> None:
    tokens = text_tokens(3, 4)
    answer = model.stream(batch=3).step(tokens=np.asfortranarray(tokens))["logits"]
    np.testing.assert_array_equal(answer, model.stream(batch=3).step(tokens=tokens)["logits"])


def test_another_batch_than_the_streams_is_told_how(model: runtime.Model) -> None:
    with pytest.raises(InputError, match="batch = 1, not 2") as caught:
        model.stream().step(tokens=text_tokens(2, 1))
    assert "model.stream(batch=2)" in caught.value.hint


def test_state_is_not_an_input_of_a_step(model: runtime.Model) -> None:
    with pytest.raises(InputError, match="no input 'h'"):
        model.stream().step(tokens=np.array([[1]]), h=np.zeros((1, 1, HIDDEN), np.float32))


def test_a_model_without_state_has_no_stream(classifier_bundle: Path) -> None:
    with pytest.raises(InputError, match="keeps no state"):
        runtime.load(classifier_bundle).stream()


def test_a_bound_step_goes_on_from_the_prompts_state(model: runtime.Model) -> None:
    tokens = text_tokens(2, 7)
    stream, by_steps = model.stream(batch=2), model.stream(batch=2)
    prompt, single = stream.bind(time=4), stream.bind(time=1)
    prompt.inputs["tokens"][...] = tokens[:, :4]
    np.testing.assert_array_equal(prompt()["logits"], by_steps.step(tokens=tokens[:, :4])["logits"])
    for time in range(4, 7):
        single.inputs["tokens"][...] = tokens[:, time : time + 1]
        expected = by_steps.step(tokens=tokens[:, time : time + 1])["logits"]
        answer = single()
        np.testing.assert_array_equal(answer["logits"], expected)
        assert answer is single.outputs
    np.testing.assert_array_equal(stream.state()["h"], by_steps.state()["h"])


def test_a_failed_bound_step_leaves_the_state(model: runtime.Model) -> None:
    stream = model.stream()
    step = stream.bind()
    step.inputs["tokens"][...] = 3
    step()
    before = stream.state()["h"]
    step.inputs["tokens"][...] = 99
    with pytest.raises(EngineError, match=r"fp32\.onnx"):
        step()
    np.testing.assert_array_equal(stream.state()["h"], before)


def test_many_sizes_in_turn_keep_one_state(model: runtime.Model) -> None:
    tokens = text_tokens(1, 28)
    stream, at_once = model.stream(), model.stream()
    start = 0
    for size in (1, 2, 3, 4, 5, 6, 1, 3, 2, 1):  # more sizes than a stream keeps bound
        last = stream.step(tokens=tokens[:, start : start + size])["logits"][:, -1]
        start += size
    expected = at_once.step(tokens=tokens[:, :start])["logits"][:, -1]
    np.testing.assert_allclose(last, expected, **CLOSE)


def test_a_state_can_be_taken_up_again(model: runtime.Model) -> None:
    stream = model.stream()
    stream.step(tokens=np.array([[1, 2]]))
    kept = stream.state()
    first = stream.step(tokens=np.array([[3]]))["logits"]
    stream.set_state(kept)
    np.testing.assert_array_equal(stream.step(tokens=np.array([[3]]))["logits"], first)
    with pytest.raises(InputError, match="state 'h' has shape"):
        stream.set_state({"h": np.zeros((1, 2, HIDDEN), np.float32)})


def test_a_size_of_the_state_is_the_streams(model: runtime.Model) -> None:
    with pytest.raises(InputError, match="batch = 1, not 2"):
        model.stream().bind(batch=2)
    with pytest.raises(InputError, match="no axis 'tme'"):
        model.stream().bind(tme=2)
