"""Training the digits network as a person does, on a thousand real digits."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.digits_cnn import train
from models.digits_cnn.data import DIGESTS

ROOT = Path(__file__).parents[2]
QUICK = ("--limit", "1000", "--batch-size", "16", "--seed", "3")
EPOCH_LINE = (
    r"epoch \d/\d  loss [\d.]+  accuracy [\d.]+ %  validation loss [\d.]+  accuracy [\d.]+ %"
    r"  [\d.]+ s"
)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    train.main(standalone_mode=False)


def weights(out):
    with np.load(out / "checkpoint.npz") as arrays:
        return {name: arrays[name] for name in arrays if name != "facts"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of two epochs."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        run(patch, *QUICK, "--epochs", "2", "--out", out)
    return out


@pytest.fixture(scope="module")
def first_epoch(tmp_path_factory):
    """The same run, ended after one epoch, in a process of its own."""
    out = tmp_path_factory.mktemp("first") / "not" / "there yet"
    done = subprocess.run(
        [sys.executable, "-m", train.MODULE, *QUICK, "--epochs", "1", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return out, done


@pytest.mark.parametrize(
    "arguments",
    [
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--batch-size", "0"),
        ("--limit", "5"),
        ("--seed", "x"),
    ],
)
def test_bad_values_are_wrong_usage(arguments):
    done = subprocess.run(
        [sys.executable, "-m", train.MODULE, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_mnist_is_one_line_and_a_hint(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--data-dir", tmp_path, "--out", tmp_path / "out")
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert ended.value.code == 1
    assert error.startswith(f"error: {tmp_path} has neither train-images")
    assert hint.startswith("hint: ")


def test_an_out_folder_that_cannot_be_is_said_at_once(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--out", tmp_path / "file" / "out")
    assert ended.value.code == 1
    assert "error: folder" in capsys.readouterr().err


@pytest.mark.tensorflow
def test_a_thousand_digits_teach_most_of_them(whole):
    metrics = json.loads((whole / "record.json").read_text())["metrics"]
    assert metrics["test_digits"] == 10_000
    assert metrics["test_accuracy"] > 0.75


@pytest.mark.tensorflow
def test_the_record_says_how_the_model_came_to_be(whole):
    record = json.loads((whole / "record.json").read_text())
    assert record["config"]["seed"] == 3
    assert record["config"]["epochs"] == 2
    assert record["config"]["limit"] == 1000
    assert record["data"]["sha256"] == dict(DIGESTS)
    assert {"python", "keras", "tensorflow", "numpy"} <= set(record["versions"])
    assert record["seconds"]["epochs"] > 0


@pytest.mark.tensorflow
def test_the_export_gets_its_files(whole):
    samples = np.load(whole / "samples.npz")
    labelled = np.load(whole / "eval.npz")
    task = json.loads((whole / "task.json").read_text())
    assert samples["image"].shape == (600, 28, 28, 1)
    assert samples["image"].dtype == labelled["image"].dtype == np.float32
    assert labelled["image"].shape == (10_000, 28, 28, 1)
    assert labelled["labels"].dtype == np.int64
    assert np.bincount(labelled["labels"])[:3].tolist() == [980, 1135, 1032]
    assert task == {
        "kind": "image-classification",
        "input": "image",
        "output": "probabilities",
        "labels": list("0123456789"),
        "scale": 1 / 255,
        "offset": 0.0,
    }
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.tensorflow
def test_the_saved_model_is_the_one_that_was_measured(whole):
    import keras

    model = keras.models.load_model(whole / "model.keras")
    labelled = np.load(whole / "eval.npz")
    probabilities = model.predict(labelled["image"], batch_size=500, verbose=0)
    accuracy = np.mean(probabilities.argmax(1) == labelled["labels"])
    recorded = json.loads((whole / "record.json").read_text())["metrics"]["test_accuracy"]
    assert model.name == "digits_cnn"
    assert model.input.name == "image"
    assert model.output_names == ["probabilities"]
    assert accuracy == pytest.approx(recorded, abs=1e-6)


@pytest.mark.tensorflow
def test_the_terminal_shows_only_our_lines(first_epoch):
    out, done = first_epoch
    assert done.returncode == 0
    assert re.fullmatch(
        r"\[1/4\] data preparation\n(fetching .*\n)*MNIST from .*\n917 training, 83 .*\n"
        r"\[2/4\] building\ndigits_cnn: 693962 parameters, .*\n"
        rf"\[3/4\] training\n{EPOCH_LINE}\n\[4/4\] evaluation\n",
        done.stderr,
    )
    quality, command = done.stdout.splitlines()
    assert re.fullmatch(r"test accuracy \d\d\.\d\d % \(10000 digits\)", quality)
    assert command == (
        f"edgedl export '{out}/model.keras' -o digits.bundle --samples '{out}/samples.npz'"
        f" --eval '{out}/eval.npz' --task '{out}/task.json'"
    )


@pytest.mark.tensorflow
def test_a_resumed_run_equals_an_uninterrupted_one(monkeypatch, whole, first_epoch):
    out, _ = first_epoch
    run(monkeypatch, *QUICK, "--epochs", "2", "--out", out, "--resume")
    straight = weights(whole)
    for name, value in weights(out).items():
        np.testing.assert_allclose(value, straight[name], atol=1e-6, err_msg=name)
    losses = [
        [row["loss"] for row in json.loads((folder / "history.json").read_text())]
        for folder in (whole, out)
    ]
    assert len(losses[0]) == 2
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--batch-size", "8"), "batch_size was 16, now it is 8"),
        (("--epochs", "1"), "already has 2 epochs, more than --epochs 1"),
    ],
)
def test_another_runs_checkpoint_is_refused(monkeypatch, whole, capsys, arguments, cause):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *QUICK, "--epochs", "3", *arguments, "--out", whole, "--resume")
    assert ended.value.code == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert cause in error
    assert "--resume" in hint


@pytest.mark.tensorflow
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"nonsense"])
def test_a_missing_or_broken_checkpoint_is_one_line(monkeypatch, tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *QUICK, "--out", tmp_path, "--resume")
    assert ended.value.code == 1
    assert "error: " in capsys.readouterr().err.splitlines()[-2]
