"""The classifier names what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.runtime.errors import EdgedlError, InputError
from edgedl.runtime.manifest import ImageClassification, TensorSpec
from tests.graphs import (
    LABELS,
    change_manifest,
    classifier_answer,
    classifier_weights,
    write_classifier_bundle,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 4), np.uint8)


@pytest.fixture(scope="module")
def classifier(classifier_bundle: Path) -> runtime.Classifier:
    """The classifier's task."""
    return runtime.load(classifier_bundle, threads=1).classifier()


def test_a_classifier_names_its_best_score(classifier: runtime.Classifier) -> None:
    prediction = classifier.classify(PIXELS)
    image = (PIXELS / 255).astype(np.float32)[None, ..., None]
    expected = classifier_answer(classifier_weights(), image)[0]
    assert list(prediction.scores) == list(LABELS)
    np.testing.assert_allclose(list(prediction.scores.values()), expected, rtol=1e-4)
    assert prediction.label == LABELS[int(np.argmax(expected))]
    assert prediction.score == max(prediction.scores.values())


def test_a_grey_image_needs_no_channel_axis(classifier: runtime.Classifier) -> None:
    assert classifier.classify(PIXELS) == classifier.classify(PIXELS[..., None])
    assert classifier.image_size == (4, 4, 1)


@pytest.mark.parametrize(
    "image",
    [PIXELS.astype(np.float32), PIXELS[0], PIXELS[:3], np.zeros((4, 4, 3), np.uint8), [[1]]],
)
def test_what_is_no_image_of_that_size_is_refused(
    classifier: runtime.Classifier, image: Any
) -> None:
    with pytest.raises(InputError, match=r"shape|uint8|not a list"):
        classifier.classify(image)


def test_channels_go_first_where_the_model_wants_them_first(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "nchw.bundle")
    change_manifest(
        path,
        inputs=(TensorSpec("image", "float32", ("batch", 3, 4, 2)),),
        task=ImageClassification(
            "image", "probabilities", LABELS, scale=0.5, offset=-1.0, layout="NCHW"
        ),
    )
    classifier = runtime.load(path).classifier()
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    prepared = classifier.prepare(pixels)
    assert classifier.image_size == (4, 2, 3)
    assert (prepared.shape, prepared.dtype) == ((1, 3, 4, 2), np.float32)
    assert prepared[0, 2, 3, 1] == 23 * 0.5 - 1
    assert prepared[0, 1, 0, 0] == 1 * 0.5 - 1


def test_a_model_that_takes_pixels_gets_them_as_they_are(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "uint8.bundle")
    change_manifest(path, inputs=(TensorSpec("image", "uint8", ("batch", 4, 4, 1)),))
    prepared = runtime.load(path).classifier().prepare(PIXELS)
    assert prepared.dtype == np.uint8
    np.testing.assert_array_equal(prepared[0, ..., 0], PIXELS)


def test_a_task_is_only_given_by_a_model_that_has_it(
    classifier_bundle: Path, text_bundle: Path
) -> None:
    with pytest.raises(InputError, match="generates no text"):
        runtime.load(classifier_bundle).generator()
    with pytest.raises(InputError, match="no image classifier"):
        runtime.load(text_bundle).classifier()


def test_labels_that_do_not_fit_the_scores_are_refused(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "labels.bundle")
    change_manifest(path, task=ImageClassification("image", "probabilities", LABELS[:2]))
    with pytest.raises(EdgedlError, match="label"):
        runtime.load(path).classifier().classify(PIXELS)
