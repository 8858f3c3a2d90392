"""edgedl run: images, arrays and prompts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedl.runtime.errors import EngineError
from edgedl.runtime.text import Piece, TextGenerator
from tests.cli.conftest import ROOT, Edgedl, Python, assert_one_error
from tests.graphs import (
    LABELS,
    TOKENS,
    classifier_answer,
    classifier_images,
    classifier_weights,
    text_answer,
    text_tokens,
    text_weights,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "digit.png"
    Image.fromarray(PIXELS).save(file)
    return file


def _scores(pixels: np.ndarray) -> dict[str, float]:
    scaled = (pixels[None, ..., None] / 255).astype(np.float32)
    return dict(zip(LABELS, classifier_answer(classifier_weights(), scaled)[0], strict=True))


@pytest.mark.parametrize("inverted", [False, True])
def test_an_image_gets_a_label_and_scores(
    edgedl: Edgedl, classifier_bundle: Path, image: Path, inverted: bool
) -> None:
    result = edgedl("run", classifier_bundle, "--input", image, *(["--invert"] if inverted else []))
    assert (result.exit_code, result.stderr) == (0, "")
    scores = _scores(255 - PIXELS if inverted else PIXELS)
    label, *rows = result.stdout.splitlines()
    assert label == max(scores, key=lambda name: scores[name])
    shown = {name: float(share.rstrip("%")) for name, share in (row.split() for row in rows)}
    assert shown == pytest.approx({name: 100 * s for name, s in scores.items()}, abs=0.006)
    assert list(shown) == sorted(scores, key=lambda name: -scores[name])


def test_an_image_as_json(edgedl: Edgedl, classifier_bundle: Path, image: Path) -> None:
    result = edgedl("run", classifier_bundle, "--input", image, "--json", "--variant", "fp32")
    answer = json.loads(result.stdout)
    assert answer["scores"] == pytest.approx(_scores(PIXELS), abs=1e-5)
    assert answer["label"] in LABELS


def test_a_large_colour_image_is_brought_to_size(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30), (200, 200, 200)).save(file)
    result = edgedl("run", classifier_bundle, "--input", file, "--json")
    expected = _scores(np.full((4, 4), 200, np.uint8))
    assert json.loads(result.stdout)["scores"] == pytest.approx(expected, abs=0.05)


def test_arrays_give_arrays(edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path) -> None:
    images = classifier_images(3)
    np.savez(tmp_path / "in.npz", image=images)
    result = edgedl("run", classifier_bundle, "--input", tmp_path / "in.npz")
    assert (result.exit_code, result.stderr) == (0, "")
    np.testing.assert_allclose(
        json.loads(result.stdout)["probabilities"],
        classifier_answer(classifier_weights(), images),
        rtol=1e-4,
        atol=1e-5,
    )


def test_arrays_of_a_stateful_model_need_no_state(
    edgedl: Edgedl, text_bundle: Path, tmp_path: Path
) -> None:
    tokens = text_tokens(2, 3)
    np.savez(tmp_path / "in.npz", tokens=tokens)
    result = edgedl("run", text_bundle, "--input", tmp_path / "in.npz")
    expected, _ = text_answer(text_weights(), tokens, np.zeros((1, 2, 5), np.float32))
    answer = json.loads(result.stdout)
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-5)
    assert set(answer) == {"logits", "h_out"}


@pytest.mark.parametrize("name", ["text.png", "empty.png", "cut.png", "text.npz", "cut.npz"])
def test_a_file_that_is_no_input_is_one_line(
    edgedl: Edgedl, classifier_bundle: Path, image: Path, tmp_path: Path, name: str
) -> None:
    np.savez(tmp_path / "whole.npz", image=classifier_images(1))
    whole = image if name.endswith("png") else tmp_path / "whole.npz"
    content = {"text": b"hello", "empty": b"", "cut": whole.read_bytes()[:60]}[name.split(".")[0]]
    (tmp_path / name).write_bytes(content)
    result = edgedl("run", classifier_bundle, "--input", tmp_path / name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, name, hint="")


@pytest.mark.parametrize("name", ["nowhere.png", "nowhere.npz", "."])
def test_a_file_that_is_not_there_is_one_line(
    edgedl: Edgedl, classifier_bundle: Path, tmp_path: Path, name: str
) -> None:
    result = edgedl("run", classifier_bundle, "--input", tmp_path / name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, str(tmp_path / name), hint="")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": classifier_images(1)}, "input 'image' is missing"),
        ({"image": classifier_images(1).astype(np.float64)}, "dtype float64"),
        ({"image": classifier_images(1)[:, :2]}, "shape [1, 2, 4, 1]"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(
    edgedl: Edgedl,
    classifier_bundle: Path,
    tmp_path: Path,
    arrays: dict[str, np.ndarray],
    message: str,
) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    result = edgedl("run", classifier_bundle, "--input", tmp_path / "in.npz")
    assert result.exit_code == 1
    assert_one_error(result.stderr, message, hint="image: float32[batch, 4, 4, 1]")


def test_a_prompt_is_continued_repeatably(edgedl: Edgedl, text_bundle: Path) -> None:
    def generate(seed: int) -> str:
        result = edgedl("run", text_bundle, "--prompt", "ab", "--seed", seed, "--max-tokens", 40)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    first = generate(1)
    assert first.startswith("ab")
    assert len(first) == 2 + 40 + 1
    assert set(first) <= set(TOKENS[1:])
    assert generate(1) == first
    assert generate(2) != first


def test_a_prompt_as_json(edgedl: Edgedl, text_bundle: Path) -> None:
    options = ("--prompt", "ab", "--temperature", 0, "--max-tokens", 5)
    answer = json.loads(edgedl("run", text_bundle, "--json", *options).stdout)
    assert answer["prompt"] == "ab"
    assert edgedl("run", text_bundle, *options).stdout == f"ab{answer['text']}\n"


def test_text_is_shown_as_it_comes(
    edgedl: Edgedl, text_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(self: TextGenerator, prompt: str, **options: object) -> Iterator[str]:
        yield "c"
        yield "d"
        raise EngineError("the engine gave up")

    monkeypatch.setattr(TextGenerator, "generate", break_off)
    result = edgedl("run", text_bundle, "--prompt", "ab")
    assert result.stdout == "abcd\n"
    assert result.exit_code == 1
    assert_one_error(result.stderr, "the engine gave up")


def test_no_tokens_leave_the_prompt(edgedl: Edgedl, text_bundle: Path) -> None:
    assert edgedl("run", text_bundle, "--prompt", "ab", "--max-tokens", 0).stdout == "ab\n"


def test_a_character_outside_the_vocabulary_is_read(edgedl: Edgedl, text_bundle: Path) -> None:
    result = edgedl("run", text_bundle, "--prompt", "aé\N{SNOWMAN}", "--max-tokens", 3)
    assert result.exit_code == 0
    assert result.stdout.startswith("aé\N{SNOWMAN}")


def test_an_empty_prompt_is_one_line(edgedl: Edgedl, text_bundle: Path) -> None:
    result = edgedl("run", text_bundle, "--prompt", "")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "the prompt is empty", hint="character")


def test_a_bundle_does_its_own_task_only(
    edgedl: Edgedl, classifier_bundle: Path, text_bundle: Path, image: Path
) -> None:
    for arguments, message in (
        ((classifier_bundle, "--prompt", "a"), "generates no text"),
        ((text_bundle, "--input", image), "no image classifier"),
    ):
        result = edgedl("run", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert_one_error(result.stderr, message)


@pytest.mark.parametrize("both", [(), ("--input", "x.png", "--prompt", "a")])
def test_both_or_neither_of_input_and_prompt_is_exit_code_2(
    edgedl: Edgedl, classifier_bundle: Path, both: tuple[str, ...]
) -> None:
    result = edgedl("run", classifier_bundle, *both)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--input" in result.stderr
    assert "--prompt" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "warm"),
        ("--max-tokens", "-1"),
        ("--seed", "x"),
        ("--seed", "-1"),
        ("--top-k", "0"),
        ("--top-p", "1.5"),
        ("--top-p", "nan"),
        ("--stop", ""),
    ],
)
def test_a_bad_option_is_exit_code_2(
    edgedl: Edgedl, text_bundle: Path, option: str, value: str
) -> None:
    result = edgedl("run", text_bundle, "--prompt", "a", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option.strip("-").replace("-", "_") in result.stderr.replace("-", "_")


def test_several_prompts_are_written_as_each_alone(edgedl: Edgedl, text_bundle: Path) -> None:
    how = ("--max-tokens", 12, "--top-k", 4, "--top-p", 0.9, "--stop", "d", "--stop", "ce")
    prompts = ("--prompt", "abc", "--prompt", "b", "--prompt", "e\u20ac")
    alone = [
        edgedl("run", text_bundle, *prompts[2 * row :][:2], "--seed", 3 + row, *how).stdout
        for row in range(3)
    ]
    result = edgedl("run", text_bundle, *prompts, "--seed", 3, *how)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "\n".join(alone)
    answer = json.loads(edgedl("run", text_bundle, *prompts, "--seed", 3, *how, "--json").stdout)
    assert [row["prompt"] for row in answer] == ["abc", "b", "e\u20ac"]
    assert [row["prompt"] + row["text"] + "\n" for row in answer] == alone
    assert len({len(text) for text in alone}) > 1  # a stop string ended some


def test_of_several_prompts_the_first_is_shown_as_it_comes(
    edgedl: Edgedl, text_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(
        self: TextGenerator, prompts: Sequence[str], **options: object
    ) -> Iterator[Piece]:
        yield Piece(0, "c", False)
        yield Piece(1, "x", False)
        yield Piece(0, "d", True)
        yield Piece(1, "y", False)
        raise EngineError("the engine gave up")

    monkeypatch.setattr(TextGenerator, "generate_batch", break_off)
    result = edgedl("run", text_bundle, "--prompt", "ab", "--prompt", "e")
    assert result.stdout == "abcd\n\nexy\n"
    assert result.exit_code == 1


def test_no_tokens_leave_every_prompt(edgedl: Edgedl, text_bundle: Path) -> None:
    prompts = ("--prompt", "ab", "--prompt", "c", "--max-tokens", 0)
    assert edgedl("run", text_bundle, *prompts).stdout == "ab\n\nc\n"


@pytest.mark.parametrize("prompts", [("ab",), ("ab", "c")])
def test_an_interrupt_keeps_the_text_and_is_exit_code_130(
    text_bundle: Path, prompts: tuple[str, ...]
) -> None:
    asked = [part for prompt in prompts for part in ("--prompt", prompt)]
    child = subprocess.Popen(
        [sys.executable, "-m", "edgedl", "run", text_bundle, *asked, "--max-tokens", str(10**9)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    begun = os.read(child.stdout.fileno(), 40)
    child.send_signal(signal.SIGINT)
    rest, stderr = child.communicate(timeout=60)
    text = (begun + rest).decode()
    assert child.returncode == 130
    assert text.startswith("ab")
    assert text.endswith("\n")
    assert stderr.decode() == "error: interrupted\n"


def test_without_pillow_the_extra_is_named(
    edgedl: Edgedl, classifier_bundle: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = edgedl("run", classifier_bundle, "--input", image)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "Pillow", hint="pip install 'edgedl[image]'")


def test_as_a_process(python: Python, classifier_bundle: Path, image: Path) -> None:
    done = python("-m", "edgedl", "run", classifier_bundle, "--input", image)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] in LABELS
