"""Pixels in and answers out: framed models, proved, judged and embedded."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.frames import AnswerOutput, PixelInput, parse_answer, parse_pixels
from edgedl.runtime.device_parity import compare
from edgedl.runtime.errors import ParityError
from edgedl.runtime.golden import read_golden
from edgedl.runtime.manifest import ImageClassification, TextGeneration, Vocabulary
from edgedl.runtime.protocol import Case, Measurement, ParityAnswer, ParityRequest
from edgedl.runtime.worker import answer
from tests.export.conftest import Export
from tests.export.fake_source import (
    CLASSES,
    FEATURES,
    FakeSource,
    X,
    conv_answer,
    conv_source,
    dense_answer,
    dense_graph,
    dense_source,
    lstm_source,
    normal,
    way,
)

SCALE = PixelInput("", Fraction(1, 255))
SHIFTED = PixelInput("", Fraction(2, 255), Fraction(-1))
LABELS = tuple("abcde")
TASK = ImageClassification("image", "logits", LABELS, scale=1 / 255, layout="NCHW")


def images(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)


@pytest.fixture
def samples(tmp_path: Path) -> Callable[..., Path]:
    """Write arrays to a file."""

    def write(name: str = "samples.npz", **arrays: Any) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write


def compared(bundle: runtime.Bundle) -> ParityAnswer:
    return compare(ParityRequest(str(bundle.path)))


@pytest.mark.parametrize(
    ("text", "scale", "offset"),
    [
        ("scale=1/255", Fraction(1, 255), 0),
        ("scale=1/127.5,offset=-1", Fraction(2, 255), -1),
        ("image:scale=0.5,offset=1/3", Fraction(1, 2), Fraction(1, 3)),
    ],
)
def test_fractions_are_exact(text: str, scale: Fraction, offset: Fraction) -> None:
    assert parse_pixels(text) == PixelInput(text.partition(":")[0] * (":" in text), scale, offset)


@pytest.mark.parametrize("text", ["", "1/255", "scale=", "scale=0", "scale=1/0", "scale=a", "x:scale=1,bias=2", "scale=1e400", "scale=1e-50", "scale=1,offset=1e39"])  # fmt: skip  # noqa: E501
def test_bad_pixels(text: str) -> None:
    with pytest.raises(ValueError, match=r"scale|number"):
        parse_pixels(text)


@pytest.mark.parametrize("text", ["", "max", "top-0", "top-k", "a:b:argmax", "top-"])
def test_bad_answers(text: str) -> None:
    with pytest.raises(ValueError, match="argmax"):
        parse_answer(text)
    assert parse_answer("y:top-5") == AnswerOutput("y", "top-k", 5)


@pytest.mark.parametrize("frame", [SCALE, SHIFTED])
@pytest.mark.parametrize("given", ["uint8", "float32", "generated"])
def test_pixels_go_in(
    export: Export, samples: Callable[..., Path], frame: PixelInput, given: str
) -> None:
    pixels = images(80)
    scaled = pixels * np.float32(frame.scale) + np.float32(frame.offset)
    file = None if given == "generated" else samples(image=pixels if given == "uint8" else scaled)
    bundle = export(conv_source(), pixels=(frame,), samples=file, recipes=("fp32",), task=TASK)
    assert bundle.manifest.inputs[0].dtype == "uint8"
    assert bundle.manifest.task == ImageClassification("image", "logits", LABELS, layout="NCHW")
    vectors = read_golden(bundle)[0]
    assert vectors.inputs["image"].dtype == np.uint8
    with runtime.load(bundle.path) as model:
        answer = model.run(image=pixels[:3])["logits"]
        np.testing.assert_allclose(answer, conv_answer(scaled[:3]), rtol=1e-4, atol=1e-5)
        label = model.classifier().classify(pixels[0, 0]).label
    assert label == LABELS[int(np.argmax(answer[0]))]
    assert compared(bundle).variants[0].passed


def test_evaluation_samples_become_pixels_too(export: Export, samples: Callable[..., Path]) -> None:
    held_out = images(40, seed=1)
    scaled = held_out.astype(np.float32) * np.float32(1 / 255)
    labels = np.argmax(conv_answer(scaled), -1)
    bundle = export(
        conv_source(), pixels=(SCALE,), samples=samples(image=images(80)), task=TASK,
        evaluation=samples("eval.npz", image=scaled, labels=labels), recipes=("fp32",),
    )  # fmt: skip
    quality = compared(bundle).variants[0].quality
    assert quality is not None
    assert (quality.value, quality.samples) == (1.0, 40)


@pytest.mark.parametrize("off", [0.5 / 255, 256 / 255, -1 / 255, np.nan])
def test_floats_off_the_grid_are_one_line(
    export: Export, samples: Callable[..., Path], off: float, nothing_written: Any
) -> None:
    scaled = images(8).astype(np.float32) / 255
    scaled[3, 0, 2, 2] = off
    file = samples(image=scaled)
    with pytest.raises(SamplesError, match="no pixel"):
        export(conv_source(), pixels=(SCALE,), samples=file)
    file.unlink()
    assert nothing_written()


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])
@pytest.mark.parametrize("kind", ["argmax", "top-3", "softmax"])
def test_answers_come_out(
    export: Export, samples: Callable[..., Path], kind: str, recipe: str
) -> None:
    held_out = normal(9, 60, 1, 6, 6)
    scores = conv_answer(held_out)
    labels = np.argmax(scores, -1)
    bundle = export(
        conv_source(), answers=(parse_answer(kind),), recipes=(recipe,), task=TASK, max_drop=20.0,
        samples=samples(image=normal(8, 80, 1, 6, 6)),
        evaluation=samples("eval.npz", image=held_out, labels=labels),
    )  # fmt: skip
    manifest = bundle.manifest
    assert "logits" not in [spec.name for spec in manifest.outputs]
    with runtime.load(bundle.path) as model:
        answer = model.run(image=held_out)
    exact = recipe == "fp32"
    if kind == "argmax":
        (output,) = manifest.outputs
        assert (output.name, output.dtype, output.shape) == ("logits_class", "int64", ("batch",))
        chosen = answer["logits_class"]
    elif kind == "top-3":
        chosen = answer["logits_indices"][:, 0]
        order = np.argsort(-scores, -1)[:, :3]
        if exact:
            np.testing.assert_array_equal(answer["logits_indices"], order)
            np.testing.assert_allclose(
                answer["logits_values"], np.take_along_axis(scores, order, -1), rtol=1e-4, atol=1e-5
            )
    else:
        chosen = np.argmax(answer["logits_probabilities"], -1)
        np.testing.assert_allclose(answer["logits_probabilities"].sum(-1), 1, rtol=1e-5)
    assert np.mean(chosen == labels) >= (1.0 if exact else 0.8)
    (variant,) = compared(bundle).variants
    assert variant.passed, variant.reasons
    assert variant.quality is not None
    assert variant.quality.value == np.mean(chosen == labels)
    judged = {o.output: o for o in variant.outputs}[manifest.task.output]  # type: ignore[union-attr]
    assert judged.positions > 0


def test_classifier_over_answers(export: Export, samples: Callable[..., Path]) -> None:
    pixels = images(80)
    scores = conv_answer(pixels[:1] * np.float32(1 / 255))[0]
    best = LABELS[int(np.argmax(scores))]
    for kind, known in (("argmax", 0), ("top-2", 2)):
        bundle = export(
            conv_source(), pixels=(SCALE,), answers=(parse_answer(kind),), task=TASK, force=True,
            samples=samples(image=pixels), recipes=("fp32",),
        )  # fmt: skip
        with runtime.load(bundle.path) as model:
            prediction = model.classifier().classify(pixels[0, 0])
        assert prediction.label == best
        assert len(prediction.scores) == known
        assert np.isnan(prediction.score) == (known == 0)
        measured = answer(
            Case(str(bundle.path), "fp32", mode="app", warmup_s=0, least_s=0, least_count=3)
        )
        assert isinstance(measured, Measurement), measured
        assert measured.parity
        assert all(row.passed for row in measured.parity)


def test_a_clear_flip_of_a_class_fails(export: Export) -> None:
    """A bias that turns classes around is found although the scores stay inside."""
    turned = np.roll(np.arange(CLASSES, dtype=np.float32), 1)
    wrong = dense_source(way(lambda opset: dense_graph(opset, bias=turned)))
    with pytest.raises(ParityError, match="logits_class: another class is chosen"):
        export(wrong, answers=(parse_answer("argmax"),))


def test_a_measured_class_is_judged_by_the_scores_behind_it(export: Export) -> None:
    # Beside a class that is far off, the others lie within a step of 8 bits of each other.
    bias = np.array([0, 0, 0, 0, -30], np.float32)
    kernel = normal(8, FEATURES, 1) + np.float32(0.005) * normal(9, FEATURES, CLASSES)
    close = FakeSource(
        (X,),
        ("logits",),
        lambda feeds: (dense_answer(feeds["x"], kernel, bias),),
        (way(lambda opset: dense_graph(opset, kernel, bias)),),
    )
    bundle = export(close, answers=(parse_answer("argmax"),), recipes=("int8-dynamic",))
    answered = answer(
        Case(str(bundle.path), "int8-dynamic", sizes={"batch": 32}, warmup_s=0, least_s=0)
    )
    assert isinstance(answered, Measurement)
    (row,) = answered.parity
    assert (row.passed, row.flips > 0, row.clear_flips) == (True, True, 0)


def test_without_a_task_or_labels_flips_are_judged(export: Export) -> None:
    bundle = export(dense_source(), answers=(parse_answer("argmax"),), max_drop=20.0,
                    recipes=("fp32", "int8-dynamic"))  # fmt: skip
    quality = bundle.manifest.variant("int8-dynamic").quality
    assert quality is not None
    assert quality.metric == "agreement"
    assert bundle.manifest.decisions[0].scores == "logits"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"pixels": (PixelInput("y", Fraction(1)),)}, "there is no such input"),
        ({"answers": (parse_answer("y:argmax"),)}, "no output with scores"),
        ({"answers": (parse_answer("top-9"),)}, "'logits' has 5 classes"),
        ({"answers": (parse_answer("argmax"), parse_answer("logits:softmax"))}, "logits is given"),
        ({"pixels": (SCALE, PixelInput("x", Fraction(1)))}, "x is given twice"),
    ],
)
def test_a_frame_that_does_not_fit(export: Export, request_: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        export(dense_source(), **request_)


def test_several_inputs_want_a_name(export: Export) -> None:
    with pytest.raises(SourceError, match="3 inputs could take pixels"):
        export(lstm_source(), pixels=(SCALE,))


def test_text_needs_its_logits(export: Export) -> None:
    task = TextGeneration("x", "logits", Vocabulary(LABELS, 0))
    with pytest.raises(SamplesError, match="logits that text is drawn from"):
        export(lstm_source(), answers=(parse_answer("argmax"),), task=task)


def test_a_stateful_model_decides_at_every_step(export: Export) -> None:
    bundle = export(lstm_source(), answers=(parse_answer("argmax"),), recipes=("fp32",))
    output = bundle.manifest.outputs[0]
    assert (output.name, output.shape) == ("logits_class", ("batch", "time"))
    assert compared(bundle).variants[0].passed
    assert bundle.manifest.inputs[0].shape[-1] == FEATURES
