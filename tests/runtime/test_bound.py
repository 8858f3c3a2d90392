"""Bound calls: the same answers as run(), in buffers that stay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgedl import runtime
from edgedl.runtime.errors import EngineError, InputError
from edgedl.runtime.manifest import TensorSpec
from tests.graphs import (
    HIDDEN,
    change_manifest,
    classifier_images,
    text_tokens,
    write_classifier_bundle,
)


@pytest.fixture(scope="module")
def model(text_bundle: Path) -> runtime.Model:
    """The text model, loaded."""
    return runtime.load(text_bundle, threads=1)


def test_a_bound_call_answers_what_run_does(model: runtime.Model) -> None:
    call = model.bind(batch=2, time=3)
    rng = np.random.default_rng(0)
    for seed in range(3):
        tokens = (text_tokens(2, 3) + seed) % 5
        h = rng.standard_normal((1, 2, HIDDEN)).astype(np.float32)
        call.inputs["tokens"][...] = tokens
        call.inputs["h"][...] = h
        expected = model.run(tokens=tokens, h=h)
        answer = call()
        assert answer.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(answer[name], array)


def test_what_a_call_returns_is_overwritten_by_the_next(model: runtime.Model) -> None:
    call = model.bind()
    call.inputs["tokens"][...] = 1
    first = call()["logits"]
    kept = first.copy()
    call.inputs["tokens"][...] = 2
    second = call()["logits"]
    assert second is first
    assert not np.array_equal(first, kept)


def test_what_run_returns_stays(model: runtime.Model) -> None:
    tokens = np.array([[1]])
    first = model.run(tokens=tokens)["logits"]
    kept = first.copy()
    model.run(tokens=np.array([[2]]))
    np.testing.assert_array_equal(first, kept)


def test_calls_of_one_model_run_in_threads_of_their_own(model: runtime.Model) -> None:
    expected = [model.run(tokens=np.array([[t]]))["logits"] for t in range(5)]

    def work(token: int) -> bool:
        call = model.bind()
        call.inputs["tokens"][...] = token
        return all(np.array_equal(call()["logits"], expected[token]) for _ in range(200))

    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(work, range(5)))


def test_streams_run_in_threads_of_their_own(model: runtime.Model) -> None:
    def text(token: int) -> list[bytes]:
        stream = model.stream()
        tokens = ((token + step) % 5 for step in range(100))
        return [stream.step(tokens=np.array([[t]]))["logits"].tobytes() for t in tokens]

    expected = [text(token) for token in range(5)]
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(text, range(5))) == expected


def test_sizes_that_mean_nothing_are_refused(model: runtime.Model) -> None:
    with pytest.raises(InputError, match="no axis 'bach'") as caught:
        model.bind(bach=2)
    assert "batch, time" in caught.value.hint
    with pytest.raises(InputError, match="no size"):
        model.bind(batch=-1)
    with pytest.raises(InputError, match="no size"):
        model.bind(batch=True)
    call = model.bind(batch=np.int64(2))
    assert call()["logits"].shape == (2, 1, 8)


@pytest.mark.parametrize("size", [2**50, 2**63])
def test_more_than_there_is_memory_is_refused(model: runtime.Model, size: int) -> None:
    with pytest.raises(InputError, match="tokens"):
        model.bind(batch=size)
    with pytest.raises(InputError, match="float32"):
        model.stream(batch=size)


def test_an_array_can_not_be_put_in_a_bound_ones_place(model: runtime.Model) -> None:
    call = model.bind()
    for arrays in (call.inputs, call.outputs, call(), model.stream().bind().inputs):
        with pytest.raises(TypeError, match="assignment"):
            arrays[next(iter(arrays))] = np.zeros((1, 1))  # type: ignore[index]
    with pytest.raises(AttributeError):
        call.inputs = {"tokens": np.array([[2]])}  # type: ignore[misc]


def test_a_failed_call_says_so_and_can_be_repeated(model: runtime.Model) -> None:
    call = model.bind()
    call.inputs["tokens"][...] = 99
    with pytest.raises(EngineError, match=r"fp32\.onnx failed to run"):
        call()
    call.inputs["tokens"][...] = 1
    expected = model.run(tokens=np.array([[1]]))["logits"]
    np.testing.assert_array_equal(call()["logits"], expected)


def test_a_closed_model_runs_no_more(text_bundle: Path) -> None:
    with runtime.load(text_bundle, threads=1) as model:
        call, stream = model.bind(), model.stream()
        step = stream.bind()
        call()
    for run in (call, step, lambda: model.run(tokens=np.array([[1]])), model.bind):
        with pytest.raises(EngineError, match=r"^the model is closed$") as caught:
            run()
        assert caught.value.hint == "load it again"


def test_an_output_of_unknown_size_is_new_each_time(tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "a.bundle")
    change_manifest(bundle, outputs=[TensorSpec("probabilities", "float32", ("found", 3))])
    model = runtime.load(bundle, threads=1)
    images = classifier_images(2)
    call = model.bind(batch=1)
    for image in (images[:1], images[1:]):
        call.inputs["image"][...] = image
        kept = call()["probabilities"]
        np.testing.assert_array_equal(kept, model.run(image=image)["probabilities"])
    first = call()["probabilities"]
    assert call()["probabilities"] is not first


class CopyingBinding(ort.IOBinding):  # type: ignore[misc]
    """A stand-in for one to a GPU, which copies an input there when it is bound."""

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        """Bind a copy."""
        super().bind_cpu_input(name, value.numpy().copy())

    def bind_cpu_input(self, name: str, array: Any) -> None:
        """Bind a copy."""
        super().bind_cpu_input(name, array.copy())


def test_inputs_and_state_reach_a_device_with_memory_of_its_own(
    model: runtime.Model, text_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = runtime.load(text_bundle, threads=1)
    elsewhere.device = "cuda"
    monkeypatch.setattr(elsewhere.session, "io_binding", lambda: CopyingBinding(elsewhere.session))
    call, here = elsewhere.bind(), model.bind()
    stream, expected = elsewhere.stream(), model.stream()
    step = stream.bind()
    for token in (1, 4, 2, 3):
        for each in (call, here, step):
            each.inputs["tokens"][...] = token
        np.testing.assert_array_equal(call()["logits"], here()["logits"])
        answer = expected.step(tokens=np.array([[token]]))["logits"]
        np.testing.assert_array_equal(step()["logits"], answer)
    stream.reset()
    expected.reset()
    np.testing.assert_array_equal(step()["logits"], expected.step(tokens=np.array([[3]]))["logits"])


def test_text_can_not_be_bound(tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "a.bundle")
    change_manifest(bundle, inputs=[TensorSpec("image", "str", ("batch",))])
    with pytest.raises(InputError, match="can't be bound"):
        runtime.load(bundle, threads=1).bind()
