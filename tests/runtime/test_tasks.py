"""The classifier names what it sees; the generator writes repeatable text."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgedl import runtime
from edgedl.runtime.errors import EdgedlError, InputError
from edgedl.runtime.manifest import ImageClassification, TensorSpec, TextGeneration, Vocabulary
from edgedl.runtime.tasks import sample_token
from tests.graphs import (
    HIDDEN,
    LABELS,
    TOKENS,
    UNKNOWN,
    change_manifest,
    classifier_answer,
    classifier_weights,
    text_answer,
    text_weights,
    write_classifier_bundle,
    write_text_bundle,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 4), np.uint8)


@pytest.fixture(scope="module")
def classifier(classifier_bundle: Path) -> runtime.Classifier:
    """The classifier's task."""
    return runtime.load(classifier_bundle, threads=1).classifier()


@pytest.fixture(scope="module")
def generator(text_bundle: Path) -> runtime.TextGenerator:
    """The text generator's task."""
    return runtime.load(text_bundle, threads=1).generator()


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
    "image", [PIXELS.astype(np.float32), PIXELS[0], PIXELS[:3], np.zeros((4, 4, 3), np.uint8)]
)
def test_what_is_no_image_of_that_size_is_refused(
    classifier: runtime.Classifier, image: np.ndarray
) -> None:
    with pytest.raises(InputError, match=r"shape|uint8"):
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


def test_a_vocabulary_that_does_not_fit_the_logits_is_refused(tmp_path: Path) -> None:
    path = write_text_bundle(tmp_path / "vocabulary.bundle")
    change_manifest(path, task=TextGeneration("tokens", "logits", Vocabulary(TOKENS[:3], UNKNOWN)))
    with pytest.raises(EdgedlError, match="vocabulary"):
        list(runtime.load(path).generator().generate("a", 20, temperature=100.0, seed=0))


def test_a_seed_makes_text_repeatable(generator: runtime.TextGenerator) -> None:
    texts = ["".join(generator.generate("abc", 40, seed=seed)) for seed in (1, 1, 2)]
    assert len(texts[0]) == 40
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_without_a_seed_every_text_is_new(generator: runtime.TextGenerator) -> None:
    first, second = ("".join(generator.generate("abc", 60)) for _ in range(2))
    assert first != second


def test_temperature_zero_takes_the_likeliest_token(generator: runtime.TextGenerator) -> None:
    tokens, expected = [1, 4, 3], ""
    for _ in range(15):
        zeros = np.zeros((1, 1, HIDDEN), np.float32)
        logits = text_answer(text_weights(), np.array([tokens]), zeros)[0][0, -1]
        logits[UNKNOWN] = -np.inf
        tokens.append(int(np.argmax(logits)))
        expected += TOKENS[tokens[-1]]
    assert "".join(generator.generate("adc", 15, temperature=0)) == expected


def test_unseen_characters_become_the_unknown_token(generator: runtime.TextGenerator) -> None:
    assert generator.encode("a\u20acb ") == [1, UNKNOWN, 2, 6]
    assert list(generator.generate("\u20ac", 9, seed=3)) == list(generator.generate("Z", 9, seed=3))


def test_pieces_come_one_at_a_time(generator: runtime.TextGenerator) -> None:
    assert len(list(islice(generator.generate("a", 10**9, seed=1), 3))) == 3
    assert list(generator.generate("a", 0)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": ""},
        {"prompt": "a", "max_tokens": -1},
        {"prompt": "a", "temperature": -0.1},
        {"prompt": "a", "temperature": math.nan},
    ],
)
def test_senseless_arguments_are_refused_at_the_call(
    generator: runtime.TextGenerator, arguments: dict[str, object]
) -> None:
    with pytest.raises(InputError, match=r"empty|negative"):
        generator.generate(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.0, 0.01, 1.0, 100.0, math.inf])
def test_the_unknown_token_is_never_generated(temperature: float) -> None:
    logits = np.array([1.0, 2.0, 50.0, 3.0], np.float32)
    vocabulary = Vocabulary(("a", "b", "?", "c"), unknown=2)
    rng = np.random.default_rng(0)
    drawn = {sample_token(logits, vocabulary, temperature, rng) for _ in range(200)}
    assert 2 not in drawn


def test_tokens_are_drawn_from_the_softmax_at_the_temperature() -> None:
    # At temperature 0.5 odds of 1 : 2 become 1 : 4.
    logits = np.log(np.array([1.0, 1.0, 2.0]))
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary(("?", "a", "b"), unknown=0)
    drawn = [sample_token(logits, vocabulary, 0.5, rng) for _ in range(4000)]
    assert np.mean(np.array(drawn) == 2) == pytest.approx(0.8, abs=0.025)
