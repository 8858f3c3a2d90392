"""Training the character LSTM as a person does, with tiny models."""

import errno
import importlib.util
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import saving
from models.char_lstm import train
from models.training import TrainingError

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
MODEL_FILE = ROOT / "models" / "char_lstm" / "model.py"
TINY = ("--hidden-size", "24", "--embedding-size", "8", "--batch-size", "8", "--dropout", "0.1")


def load_model_file():
    """model.py by its path, as `edgedl export` loads it."""
    spec = importlib.util.spec_from_file_location("lstm_by_path", MODEL_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    train.main(standalone_mode=False)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", train.MODULE, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A tiny model is faster so, and sums in the same order as in the processes started here."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Made-up sentences: a small model learns their words in seconds."""
    words = random.Random(0)
    choices = ("the", "model", "runs", "on", "small", "machines", "quickly", "and", "well")
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("\n".join(" ".join(words.choices(choices, k=8)) for _ in range(470)))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, text):
    """An uninterrupted run of three epochs, and what it said on stdout and stderr."""
    out = tmp_path_factory.mktemp("whole")
    process = start(*TINY, "--epochs", 3, "--text", text, "--out", out)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return out, stdout, stderr


@pytest.mark.parametrize(
    "arguments",
    [("--epochs", "0"), ("--hidden-size", "-4"), ("--dropout", "1"), ("--batch-size", "many")],
)
def test_bad_values_are_wrong_usage(arguments):
    process = start(*arguments)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert arguments[0] in stderr
    assert "Traceback" not in stderr


def test_the_model_learns(whole):
    out, _, _ = whole
    metrics = json.loads((out / "record.json").read_text())["metrics"]
    tokens = len(json.loads((out / "task.json").read_text())["vocabulary"]["tokens"])
    history = json.loads((out / "history.json").read_text())
    assert metrics["validation_loss"] < 0.75 * math.log(tokens)
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert 0 < metrics["validation_loss_3gram"] < math.log(tokens)


def test_the_terminal_shows_steps_and_then_results(whole):
    out, stdout, stderr = whole
    assert re.findall(r"^\[(\d/4)\] (.*)$", stderr, re.MULTILINE) == [
        ("1/4", "data preparation"),
        ("2/4", "building"),
        ("3/4", "training"),
        ("4/4", "evaluation"),
    ]
    assert len(re.findall(r"^epoch \d/3  loss ", stderr, re.MULTILINE)) == 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", stderr)
    quality, command = stdout.splitlines()[-2:]
    assert re.fullmatch(r"validation \d\.\d\d nats/char, 3-gram baseline \d\.\d\d", quality)
    assert command.startswith("edgedl export models/char_lstm/model.py:from_checkpoint --weights")
    assert command.endswith(
        f"--samples {out}/samples.npz --eval {out}/eval.npz --task {out}/task.json"
        " --dynamic tokens:0=batch --dynamic tokens:1=time"
        " --dynamic h:1=batch --dynamic c:1=batch"
    )


def test_the_saved_model_gives_the_recorded_test_loss(whole):
    import torch

    out, _, _ = whole
    stored = torch.load(out / "model.pt", weights_only=True)
    model = load_model_file().from_checkpoint(stored)
    labelled = np.load(out / "eval.npz")
    tokens, labels = (torch.from_numpy(labelled[name]) for name in ("tokens", "labels"))
    with torch.no_grad():
        step = model(tokens, *model.initial_state(len(tokens)))
    loss = torch.nn.functional.cross_entropy(step.logits.flatten(0, 1), labels.flatten())
    recorded = json.loads((out / "record.json").read_text())["metrics"]["test_loss"]
    assert not model.training
    assert loss.item() == pytest.approx(recorded, abs=0.05)  # rows begin without a state
    task = json.loads((out / "task.json").read_text())
    assert task["vocabulary"] == {"tokens": stored["vocabulary"], "unknown": 0}
    assert stored["vocabulary"][0] == "\ufffd"


def test_the_state_carries_a_text_across_calls():
    import torch

    torch.manual_seed(0)
    model = load_model_file().LSTMModel(7, 12, 7, num_layers=2, embedding_size=4).eval()
    tokens = torch.randint(0, 7, (3, 10))
    whole = model(tokens, *model.initial_state(3))
    first = model(tokens[:, :4], *model.initial_state(3))
    second = model(tokens[:, 4:], first.h, first.c)
    assert whole.logits.shape == (3, 10, 7)
    assert whole.h.shape == whole.c.shape == (2, 3, 12)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits)
    torch.testing.assert_close(second.c, whole.c)


def test_without_an_embedding_tokens_go_in_as_one_hot():
    model = load_model_file().LSTMModel(7, 12, 7, num_layers=1, embedding_size=0)
    assert model.embedding is None
    assert model.lstm.input_size == 7


def test_a_resumed_run_equals_an_uninterrupted_one(monkeypatch, whole, text, tmp_path):
    import torch

    out, _, _ = whole
    arguments = (*TINY, "--epochs", 3, "--text", text, "--out", tmp_path)
    interrupt_after(monkeypatch, 1)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 130
    monkeypatch.undo()

    run(monkeypatch, *arguments, "--resume")
    straight, resumed = (
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (out, tmp_path)
    )
    for name, value in straight["weights"].items():
        torch.testing.assert_close(resumed["weights"][name], value, rtol=0, atol=1e-6)
    assert [row["loss"] for row in resumed["history"]] == pytest.approx(
        [row["loss"] for row in straight["history"]], abs=1e-6
    )


def interrupt_after(monkeypatch, epochs):
    """Ctrl-C in the middle of the epoch after these."""
    from models.char_lstm import learning

    train_epoch = learning.train_epoch

    def interrupted(model, optimizer, tokens, validation, number, plan):
        if number > epochs:
            raise KeyboardInterrupt
        return train_epoch(model, optimizer, tokens, validation, number, plan)

    monkeypatch.setattr(learning, "train_epoch", interrupted)


def test_ctrl_c_says_how_to_go_on(text, tmp_path):
    process = start(*TINY, "--epochs", 1000, "--text", text, "--out", tmp_path)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("epoch "):
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in "".join(said) + rest
    last = rest.splitlines()[-1]
    assert last.startswith("interrupted; continue with: python -m models.char_lstm.train")
    assert last.endswith(f"--out {tmp_path} --resume")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--hidden-size", "32"), "hidden_size was 24, now it is 32"),
        (("--seed", "1"), "seed was 0, now it is 1"),
        (("--epochs", "2"), "already has 3 epochs, more than --epochs 2"),
    ],
)
def test_another_runs_checkpoint_is_refused(monkeypatch, whole, text, capsys, arguments, cause):
    out, _, _ = whole
    with pytest.raises(SystemExit) as ended:
        run(
            monkeypatch,
            *(*TINY, "--epochs", 4, *arguments, "--text", text, "--out", out, "--resume"),
        )
    assert ended.value.code == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert cause in error
    assert "--resume" in hint


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"nonsense"])
def test_a_missing_or_broken_checkpoint_is_one_line(monkeypatch, text, tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *TINY, "--text", text, "--out", tmp_path, "--resume")
    assert ended.value.code == 1
    assert "error: " in capsys.readouterr().err.splitlines()[-2]


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    saving.write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), saving.replacing(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    saving.write_bytes(path, b"old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(TrainingError, match=r"checkpoint.pt can't be written: No space left"):
        raise_inside(saving.replacing(path), full)
    assert path.read_bytes() == b"old"


def raise_inside(block, error):
    with block as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
