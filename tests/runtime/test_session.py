"""Running a variant: right answers, clear refusals, and the device asked for or none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgedl import runtime
from edgedl.runtime import session
from edgedl.runtime.errors import DeviceError, EngineError, InputError, UnknownDeviceError
from tests.graphs import (
    HIDDEN,
    classifier_answer,
    classifier_images,
    classifier_weights,
    replace_variant,
    rounded,
    text_answer,
    text_graph,
    text_tokens,
    text_weights,
    write_classifier_bundle,
)

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
WITHOUT_CUDA = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)


@pytest.fixture(scope="module")
def classifier(classifier_bundle: Path) -> runtime.Model:
    """The classifier, loaded."""
    return runtime.load(classifier_bundle, threads=1)


@pytest.fixture(scope="module")
def text(text_bundle: Path) -> runtime.Model:
    """The text model, loaded."""
    return runtime.load(text_bundle, threads=1)


def test_a_model_answers_what_its_weights_say(classifier: runtime.Model) -> None:
    image = classifier_images(3)
    outputs = classifier.run(image=image)
    assert outputs.keys() == {"probabilities"}
    np.testing.assert_allclose(
        outputs["probabilities"], classifier_answer(classifier_weights(), image), **CLOSE
    )


def test_the_variant_asked_for_is_the_one_that_runs(classifier_bundle: Path) -> None:
    image = classifier_images(3)
    answer = runtime.load(classifier_bundle, "rounded").run(image=image)["probabilities"]
    np.testing.assert_allclose(
        answer, classifier_answer(rounded(classifier_weights()), image), **CLOSE
    )
    assert np.abs(answer - classifier_answer(classifier_weights(), image)).max() > 1e-3


def test_state_that_is_left_out_starts_at_zero(text: runtime.Model) -> None:
    tokens = text_tokens(2, 5)
    outputs = text.run(tokens=tokens)
    logits, h = text_answer(text_weights(), tokens, np.zeros((1, 2, HIDDEN), np.float32))
    np.testing.assert_allclose(outputs["logits"], logits, **CLOSE)
    np.testing.assert_allclose(outputs["h_out"], h, **CLOSE)


def test_state_that_is_given_is_used(text: runtime.Model) -> None:
    tokens, h = text_tokens(2, 5), np.full((1, 2, HIDDEN), 0.7, np.float32)
    logits, _ = text_answer(text_weights(), tokens, h)
    np.testing.assert_allclose(text.run(tokens=tokens, h=h)["logits"], logits, **CLOSE)


@pytest.mark.parametrize("threads", [0, -3, 10**6, 1.5, "2", True])
def test_what_is_no_number_of_threads_is_refused(classifier_bundle: Path, threads: Any) -> None:
    with pytest.raises(InputError, match=r"threads is .* from 1 to"):
        runtime.load(classifier_bundle, threads=threads)


def test_threads_may_share_a_model(classifier: runtime.Model) -> None:
    images = [classifier_images(2, seed) for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda image: classifier.run(image=image), images))
    for image, answer in zip(images, answers, strict=True):
        np.testing.assert_allclose(
            answer["probabilities"], classifier_answer(classifier_weights(), image), **CLOSE
        )


def test_a_model_may_be_closed_while_threads_run_it(text_bundle: Path) -> None:
    model = runtime.load(text_bundle, threads=2)
    tokens, begun = text_tokens(1, 1), Barrier(5)
    generator = model.generator()

    def until_closed(use: Callable[[], object]) -> str:
        use()
        begun.wait(30)
        with pytest.raises(EngineError) as caught:
            deque(iter(use, None), 0)  # again and again
        return str(caught.value)

    uses: list[Callable[[], object]] = [
        lambda: model.run(tokens=tokens),
        lambda: model.bind()(),
        lambda: model.stream().step(tokens=tokens),
        lambda: list(generator.generate_batch(["a", "bc"], 5)),
    ]
    with ThreadPoolExecutor(len(uses)) as pool:
        ends = pool.map(until_closed, uses)
        begun.wait(30)
        model.close()
        assert set(ends) == {"the model is closed"}


GOOD = np.zeros((1, 4, 4, 1), np.float32)


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ({}, "input 'image' is missing"),
        ({"images": GOOD}, "input 'image' is missing"),
        ({"image": GOOD, "mask": GOOD}, "there is no input 'mask'"),
        ({"image": GOOD.astype(np.float64)}, "has dtype float64, not float32"),
        ({"image": GOOD[0]}, "has shape [4, 4, 1]"),
        ({"image": np.zeros((1, 4, 5, 1), np.float32)}, "has shape [1, 4, 5, 1]"),
        ({"image": GOOD.tolist()}, "is a list, not a NumPy array"),
        ({"image": np.ma.masked_equal(GOOD, 0)}, "is a MaskedArray, not a NumPy array"),
    ],
)
def test_inputs_that_do_not_fit_are_told_what_was_expected(
    classifier: runtime.Model, feeds: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        classifier.run(**feeds)
    assert isinstance(caught.value, InputError)
    assert "image: float32[batch, 4, 4, 1]" in caught.value.hint


def test_one_axis_has_one_size_in_every_input(text: runtime.Model) -> None:
    with pytest.raises(InputError, match="'h'") as caught:
        text.run(tokens=text_tokens(2, 3), h=np.zeros((1, 3, HIDDEN), np.float32))
    assert "batch = 2" in caught.value.hint


def test_a_failure_in_the_engine_names_the_file(text: runtime.Model) -> None:
    with pytest.raises(EngineError, match=r"fp32\.onnx failed to run"):
        text.run(tokens=np.array([[99]]))


def test_a_closed_model_says_so(classifier_bundle: Path, text_bundle: Path) -> None:
    with runtime.load(classifier_bundle) as model:
        model.run(image=GOOD)
    with pytest.raises(EngineError, match="closed"):
        model.run(image=GOOD)
    model = runtime.load(text_bundle)
    stream = model.stream()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        stream.step(tokens=np.array([[1]]))


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "garbage.bundle")
    replace_variant(path, "fp32", b"this is no model")
    with pytest.raises(EngineError, match=r"can't load .*fp32\.onnx"):
        runtime.load(path)


def test_a_file_with_other_tensors_than_the_manifest_is_refused(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "swapped.bundle")
    replace_variant(path, "fp32", text_graph(text_weights()).SerializeToString())
    with pytest.raises(EngineError, match="tokens, h; the manifest says image"):
        runtime.load(path)


@WITHOUT_CUDA
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda_fails_with_the_next_step(classifier_bundle: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="CUDAExecutionProvider") as caught:
        runtime.load(classifier_bundle, device=device)
    assert "edgedl[gpu]" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:", "cpu:1", "CPU", "", "cpu\n"])
def test_an_unknown_device_is_wrong_usage(classifier_bundle: Path, device: str) -> None:
    with pytest.raises(UnknownDeviceError, match="unknown device") as caught:
        runtime.load(classifier_bundle, device=device)
    assert caught.value.exit_code == 2
    assert "cpu" in caught.value.hint


class FellBackSession:
    """An InferenceSession that was asked for CUDA and serves the CPU instead."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_silent_fallback_to_the_cpu_is_an_error(
    classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(session.ort, "InferenceSession", FellBackSession)
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider .* fell back to CPU"):
        runtime.load(classifier_bundle, device="cuda")
