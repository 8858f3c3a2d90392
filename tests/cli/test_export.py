"""edgedl export: what goes where, and wrong usage. The export itself has tests of its own."""

from __future__ import annotations

import json
import os
from functools import partialmethod
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from edgedl.export import framing, pipeline
from edgedl.export.race import Pace
from edgedl.export.recipes import RECIPES
from edgedl.runtime.manifest import Decision
from tests.cli.conftest import Edgedl, assert_one_error
from tests.export.fake_source import (
    BIAS,
    FEATURES,
    FakeSource,
    conv_answer,
    conv_source,
    dense_answer,
    dense_graph,
    dense_source,
    normal,
    way,
)

QUICK = {"few": 2, "least": 2, "most": 2, "short_s": 0.005, "long_s": 0.005}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source is a dense layer."""
    _open(monkeypatch, dense_source())


def _open(monkeypatch: pytest.MonkeyPatch, source: FakeSource) -> None:
    monkeypatch.setattr(pipeline, "open_source", lambda given, weights: source)


@pytest.mark.usefixtures("opened")
def test_the_bundle_is_the_result_and_the_stages_are_not(edgedl: Edgedl, tmp_path: Path) -> None:
    samples, evaluation = tmp_path / "samples.npz", tmp_path / "eval.npz"
    held_out = normal(1, 30, FEATURES)
    np.savez(samples, x=normal(0, 40, FEATURES))
    np.savez(evaluation, x=held_out, labels=np.argmax(dense_answer(held_out), -1))
    bundle = tmp_path / "m.bundle"
    result = edgedl(
        "export", "m.fake", "-o", bundle, "--samples", samples, "--eval", evaluation,
        "--recipe", "fp32", "--recipe", "int8-dynamic", "--no-simplify", "--max-drop", 20,
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, f"{bundle}\n")
    stages = [line.split()[0] for line in result.stderr.splitlines()]
    assert stages == ["fake", "convert", "fp32", "int8-dynamic", "fp32.onnx", "int8-dynamic.onnx"]
    assert "made up" not in result.stderr
    assert "accuracy 100.00% (source 100.00%, 30 samples)" in result.stderr
    assert edgedl("parity", bundle).exit_code == 0


@pytest.mark.usefixtures("opened")
def test_a_search_shows_its_evidence(
    edgedl: Edgedl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "__init__", partialmethod(Pace.__init__, **QUICK))
    for name in RECIPES.keys() - {"fp32", "int8-dynamic"}:
        monkeypatch.delitem(RECIPES, name)
    bundle = tmp_path / "m.bundle"
    result = edgedl(
        "export", "m.fake", "-o", bundle, "--recipe", "auto", "--max-drop", 100, "--json"
    )
    assert result.exit_code == 0
    evidence = json.loads(result.stdout)
    assert evidence["bundle"] == str(bundle)
    (won,) = (c for c in evidence["search"]["candidates"] if c["verdict"] == "winner")
    assert won["recipe"] == evidence["default_variant"]
    lines = result.stderr.splitlines()
    table = next(i for i, line in enumerate(lines) if line.startswith("candidate "))
    assert lines[table].split() == [
        "candidate",
        "p50",
        "to",
        "fp32",
        "bytes",
        "quality",
        "verdict",
        "why",
    ]
    assert lines[table + 1].split()[0] == won["recipe"]
    assert "fp32 beside itself" in result.stderr
    assert "source: 100.00% agreement, 32 samples" in result.stderr
    shown = edgedl("inspect", bundle).stdout
    assert lines[table + 1].strip() in shown
    assert json.loads(edgedl("inspect", bundle, "--json").stdout)["search"] == evidence["search"]


def test_auto_with_all_is_wrong_usage(edgedl: Edgedl, tmp_path: Path) -> None:
    result = edgedl("export", "m.fake", "-o", tmp_path / "b", "--recipe", "auto", "--recipe", "all")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "leave out --recipe all" in result.stderr


@pytest.mark.usefixtures("opened")
def test_a_device_that_can_not_be_had_ends_a_search_before_any_work(
    edgedl: Edgedl, tmp_path: Path
) -> None:
    options = ("-o", tmp_path / "b", "--recipe", "auto", "--device")
    assert edgedl("export", "m.fake", *options, "tpu").exit_code == 2
    if "CUDAExecutionProvider" in ort.get_available_providers():
        return
    result = edgedl("export", "m.fake", *options, "cuda")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "CUDAExecutionProvider", hint="edgedl[gpu]")
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "b").exists()


def test_pixels_in_and_the_best_two_out(
    edgedl: Edgedl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(monkeypatch, conv_source())
    bundle, task, image = tmp_path / "m.bundle", tmp_path / "task.json", tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", image=pixels)
    task.write_text(
        '{"kind": "image-classification", "input": "image", "output": "logits", '
        '"labels": ["a", "b", "c", "d", "e"], "scale": 0.5, "layout": "NCHW"}'
    )
    result = edgedl(
        "export", "m.fake", "-o", bundle, "--samples", tmp_path / "samples.npz", "--task", task,
        "--recipe", "fp32", "--no-simplify", "--input-uint8", "scale=1/255", "--output", "top-2",
    )  # fmt: skip
    assert result.exit_code == 0
    tensors = edgedl("inspect", bundle).stdout
    assert "image: uint8[batch, 1, 6, 6]" in tensors
    assert "logits_indices: int64[batch, 2]" in tensors
    assert edgedl("parity", bundle).exit_code == 0
    Image.fromarray(pixels[0, 0]).save(image)
    scores = json.loads(edgedl("run", bundle, "--input", image, "--json").stdout)["scores"]
    best = np.argsort(-conv_answer(pixels[:1] * np.float32(1 / 255))[0])[:2]
    assert list(scores) == ["abcde"[number] for number in best]


@pytest.mark.usefixtures("opened")
def test_made_up_samples_are_warned_of(edgedl: Edgedl, tmp_path: Path) -> None:
    bundle = tmp_path / "m.bundle"
    options = ("-o", bundle, "--recipe", "fp32", "--no-simplify")
    result = edgedl("export", "m.fake", *options)
    assert "made up" in result.stderr
    assert "made up" in edgedl("inspect", bundle).stdout


def test_a_wrong_conversion_is_exit_code_3(
    edgedl: Edgedl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = BIAS + np.float32(0.01)
    _open(monkeypatch, dense_source(way(lambda opset: dense_graph(opset, bias=wrong))))
    result = edgedl("export", "m.fake", "-o", tmp_path / "m.bundle", "--no-simplify")
    assert (result.exit_code, result.stdout) == (3, "")
    assert_one_error(result.stderr, "parity failed after convert", hint="nothing was written")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("opened")
def test_an_existing_bundle_is_one_line_and_kept(edgedl: Edgedl, tmp_path: Path) -> None:
    arguments = ("export", "m.fake", "-o", tmp_path / "b", "--recipe", "fp32", "--no-simplify")
    assert edgedl(*arguments).exit_code == 0
    before = (tmp_path / "b" / "manifest.json").read_bytes()
    result = edgedl(*arguments)
    assert result.exit_code == 1
    assert_one_error(result.stderr, "already exists", hint="--force")
    assert (tmp_path / "b" / "manifest.json").read_bytes() == before
    assert edgedl(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    "option",
    [("--dynamic", "x=batch"), ("--dynamic", "x:a=batch"), ("--state", "h"), ("--max-drop", "-1"),
     ("--max-drop", "nan"), ("--max-drop", "much"), ("--opset", "5"), ("--opset", "x"),
     ("--min-ort", "new"), ("--min-ort", ""), ("--min-ort", "\u00b2"), ("--no-such-option", "1"),
     ("--input-uint8", "1/255"), ("--output", "best")],
)  # fmt: skip
def test_a_bad_option_is_exit_code_2(
    edgedl: Edgedl, tmp_path: Path, option: tuple[str, str]
) -> None:
    result = edgedl("export", "m.fake", "-o", tmp_path / "b", *option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option[0] in result.stderr


def test_an_export_without_a_place_is_exit_code_2(edgedl: Edgedl) -> None:
    result = edgedl("export", "m.fake")
    assert result.exit_code == 2
    assert "--bundle" in result.stderr


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--recipe", "int4"), "unknown recipe 'int4'"),
        (("--samples", "nowhere.npz"), "nowhere.npz can't be read"),
        (("--eval", "nowhere.npz"), "nowhere.npz can't be read"),
        (("--task", "nowhere.json"), "nowhere.json can't be read"),
        (("--dynamic", "y:0=batch"), "no such input"),
        (("--state", "y=x"), "no such tensor"),
        (
            ("--state", "logits=x"),
            "'logits' is float32[1, 5], but the input is x: float32[batch, 6]",
        ),
        (("--min-ort", "1.2"), "onnxruntime 1.2 is older"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(
    edgedl: Edgedl, tmp_path: Path, option: tuple[str, str], message: str
) -> None:
    result = edgedl("export", "m.fake", "-o", tmp_path / "b", "--no-simplify", *option)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("", "is not a task"),
        ("[]", "is not a task"),
        ('{"kind": "poetry"}', "is not a task"),
        ('{"kind": "image-classification", "input": "y", "output": "logits", "labels": []}',
         "the task speaks of 'y'"),
        ('{"kind": "image-classification", "input": "x", "output": "logits", "labels": ["a"]}',
         "the task has 1 labels"),
    ],
)  # fmt: skip
def test_a_task_that_does_not_fit_is_one_line(
    edgedl: Edgedl, tmp_path: Path, task: str, message: str
) -> None:
    file = tmp_path / "task.json"
    file.write_text(task)
    result = edgedl("export", "m.fake", "-o", tmp_path / "b", "--no-simplify", "--task", file)
    assert result.exit_code == 1
    assert_one_error(result.stderr, message)
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("opened")
def test_a_bundle_that_would_contradict_itself_replaces_nothing(
    edgedl: Edgedl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "b"
    assert edgedl("export", "m.fake", "-o", bundle, "--no-simplify").exit_code == 0
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    monkeypatch.setattr(framing.FramedSource, "decisions", (Decision("nowhere", "logits"),))
    result = edgedl(
        "export", "m.fake", "-o", bundle, "--no-simplify", "--force", "--output", "argmax"
    )
    assert result.exit_code == 1
    assert_one_error(result.stderr, "contradicts itself")
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (os.fsdecode(b"\xff\xfe"), "not UTF-8"),
        ("x" * 300, "is too long a name"),
        ("/", "already exists"),
    ],
)
def test_a_place_that_can_not_be(edgedl: Edgedl, tmp_path: Path, name: str, message: str) -> None:
    result = edgedl("export", "m.fake", "-o", tmp_path / name, "--no-simplify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, message, hint="")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("opened")
def test_the_task_travels_with_the_bundle(edgedl: Edgedl, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(
        '{"kind": "image-classification", "input": "x", "output": "logits", '
        '"labels": ["a", "b", "c", "d", "e"]}'
    )
    options = ("-o", tmp_path / "b", "--task", file, "--recipe", "fp32", "--no-simplify")
    assert edgedl("export", "m.fake", *options).exit_code == 0
    assert "image-classification" in edgedl("inspect", tmp_path / "b").stdout


def test_a_source_that_is_not_there_is_one_line(edgedl: Edgedl, tmp_path: Path) -> None:
    for source in ("nowhere.keras", "nowhere.py:build", "nowhere"):
        result = edgedl("export", source, "-o", tmp_path / "b")
        assert (result.exit_code, result.stdout) == (1, "")
        assert_one_error(result.stderr, source.partition(":")[0])
    assert not list(tmp_path.iterdir())
