"""Modes: the bound call, `Model.run` and the whole task, each held to the golden answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.runtime.golden import GoldenVectors, pack_golden, write_npz
from edgedl.runtime.manifest import ImageClassification
from edgedl.runtime.modes import load_variant, pixels_of
from edgedl.runtime.parity import failures
from edgedl.runtime.protocol import MODES, Answer, Case, Failure, Measurement
from edgedl.runtime.worker import answer
from tests.graphs import (
    change_manifest,
    classifier_answer,
    classifier_golden,
    classifier_weights,
    replace_golden,
    replace_variant,
    write_classifier_bundle,
    write_text_bundle,
)

QUICK: dict[str, Any] = {"warmup_s": 0.0, "least_s": 0.0, "least_count": 5, "threads": 1}


@pytest.fixture
def pixel_bundle(tmp_path: Path) -> Path:
    """A classifier whose golden images are pixels, as a camera's are."""
    path = write_classifier_bundle(tmp_path / "pixels.bundle")
    pixels = np.random.default_rng(3).integers(0, 256, (5, 4, 4, 1), np.uint8)
    vectors = []
    for known in classifier_golden():
        image = (pixels[: len(known.inputs["image"])] / 255).astype(np.float32)
        right = classifier_answer(classifier_weights(), image)
        vectors.append(GoldenVectors(known.case, {"image": image}, {"probabilities": right}))
    replace_golden(path, write_npz(pack_golden(vectors)))
    return path


def measured(path: Path, **fields: Any) -> Measurement:
    """The measurement of a case that must succeed."""
    reply = asked(path, **fields)
    assert isinstance(reply, Measurement), reply
    return reply


def asked(path: Path, **fields: Any) -> Answer:
    """What a worker says of a case."""
    return answer(Case(str(path), **{"variant": "fp32", **QUICK, **fields}))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_classifier_is_timed_and_right(pixel_bundle: Path, mode: str) -> None:
    measurement = measured(pixel_bundle, mode=mode)
    assert [(row.output, row.passed) for row in measurement.parity] == [("probabilities", True)]
    assert len(measurement.samples_ns) == 5


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_text_model_is_timed_and_right(text_bundle: Path, mode: str) -> None:
    measurement = measured(text_bundle, mode=mode)
    assert [row.passed for row in measurement.parity] == [True, True]
    assert {row.output for row in measurement.parity} == {"logits", "h_out"}


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_answer_is_found_in_every_mode(pixel_bundle: Path, mode: str) -> None:
    other = (pixel_bundle / "rounded.onnx").read_bytes()
    replace_variant(pixel_bundle, "fp32", other)
    assert failures(measured(pixel_bundle, mode=mode).parity)


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_text_model_is_found_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = write_text_bundle(tmp_path / "wrong.bundle")
    replace_variant(path, "fp32", (path / "rounded.onnx").read_bytes())
    assert failures(measured(path, mode=mode).parity)


def test_a_step_goes_on_from_its_own_state(text_bundle: Path) -> None:
    model = runtime.load(text_bundle, threads=1)
    tokens = np.array([[1]])
    zeros = model.zero_state({"batch": 1})
    loaded = load_variant(Case(str(text_bundle), "fp32", threads=1), {"tokens": tokens, **zeros})
    stream = model.stream()
    for _ in range(3):
        first = loaded.run()
        assert isinstance(first, Mapping)
        expected = stream.step(tokens=tokens)["logits"]
        np.testing.assert_array_equal(first["logits"], expected)


def test_pixels_make_the_image_they_were_taken_from() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    for layout in ("NHWC", "NCHW"):
        task = ImageClassification("x", "y", ("a",), scale=2 / 255, offset=-1.0, layout=layout)
        image = (pixels * task.scale + task.offset).astype(np.float32)[None]
        laid = np.moveaxis(image, -1, 1) if layout == "NCHW" else image
        np.testing.assert_array_equal(pixels_of(task, laid), pixels)
    np.testing.assert_array_equal(pixels_of(task, np.moveaxis(pixels[None], -1, 1)), pixels)


def test_an_app_on_inputs_that_are_no_pixels_is_timed_unchecked(classifier_bundle: Path) -> None:
    assert measured(classifier_bundle, mode="app").parity == ()


def test_an_app_answers_one_sample_at_a_time(classifier_bundle: Path) -> None:
    failure = asked(classifier_bundle, mode="app", sizes={"batch": 2})
    assert isinstance(failure, Failure)
    assert "one sample at a time" in failure.message


def test_a_model_without_a_task_has_no_app_around_it(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "plain.bundle")
    change_manifest(path, task=None)
    failure = asked(path, mode="app")
    assert isinstance(failure, Failure)
    assert "nothing before and after" in failure.message
    assert "--mode" in failure.hint


def test_a_subject_has_no_app_around_it(classifier_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "subjects.py"
    file.write_text("def nothing(inputs, threads):\n    return lambda: None\n")
    failure = asked(classifier_bundle, mode="app", subject=f"{file}:nothing")
    assert isinstance(failure, Failure)
    assert "no app around it" in failure.message
    for mode in ("model", "run"):
        assert measured(classifier_bundle, mode=mode, subject=f"{file}:nothing").samples_ns
