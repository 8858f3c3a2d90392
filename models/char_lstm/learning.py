"""Teaching the LSTM: an epoch of it, what it is judged by, what is kept. Needs torch."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from models.char_lstm.data import EVALUATION_STREAMS, Sampling, Tokens, Vocabulary, streams, windows
from models.char_lstm.model import LSTMModel
from models.saving import write_bytes
from models.training import Epoch, TrainingError, progress, stopwatch

WARM_UP = 0.05  # of all steps
LEAST_RATE = 0.02  # of the peak learning rate, at the end
LARGEST_GRADIENT = 1.0  # norm
EVALUATION_WINDOW = 512  # characters

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How the text is gone through."""

    epochs: int
    batch_size: int
    sequence: int
    learning_rate: float


@dataclass(frozen=True)
class Best:
    """The weights with the lowest validation loss so far."""

    epoch: int
    validation_loss: float
    weights: Weights


NOTHING_YET = Best(0, math.inf, {})


@dataclass(frozen=True)
class Checkpoint:
    """What an interrupted run goes on from."""

    config: Mapping[str, object]
    history: Sequence[Epoch]
    best: Best
    weights: Weights
    optimizer: Mapping[str, Any]
    random_state: Tensor


@contextmanager
def within_memory() -> Iterator[None]:
    """Name a model that doesn't fit; torch says so with a plain RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            "there isn't enough memory for this model",
            "choose a smaller --hidden-size, --layers, --batch-size or --sequence",
        ) from error


@within_memory()
def build(shape: Mapping[str, Any], seed: int) -> tuple[LSTMModel, Optimizer]:
    """A fresh model and its optimiser.

    Raises:
        TrainingError: There isn't enough memory for it.
    """
    torch.manual_seed(seed)
    model = LSTMModel(**shape)
    return model, Adam(model.parameters())


def count(model: LSTMModel) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def learning_rate(done: float, peak: float) -> float:
    """Linear warm-up, then a half cosine down; `done` is the part of all steps behind us."""
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return peak * min(1.0, done / WARM_UP) * (LEAST_RATE + (1 - LEAST_RATE) * cosine)


@within_memory()
def train_epoch(
    model: LSTMModel,
    optimizer: Optimizer,
    train: Tokens,
    validation: Tokens,
    number: int,
    plan: Plan,
) -> Epoch:
    """One pass over the training split in contiguous streams, then the validation split.

    The state is carried from window to window and cut off from the gradient (truncated
    backpropagation through time).

    Raises:
        TrainingError: The loss is no longer a number, or there isn't enough memory.
    """
    elapsed = stopwatch()
    inputs, labels = map(torch.from_numpy, streams(train, plan.batch_size))  # (batch, length)
    spans = list(windows(inputs.shape[1], plan.sequence))
    loss_sum, correct, seen = 0.0, 0, 0
    h, c = model.initial_state(plan.batch_size)
    model.train()
    with progress(f"epoch {number}", len(spans)) as advance:
        for index, span in enumerate(spans):
            done = ((number - 1) * len(spans) + index + 1) / (plan.epochs * len(spans))
            step = model(inputs[:, span], h.detach(), c.detach())
            h, c = step.h, step.c
            wanted = labels[:, span]
            loss = cross_entropy(step.logits, wanted)
            _descend(model, optimizer, loss, learning_rate(done, plan.learning_rate))
            loss_sum += loss.item() * wanted.numel()
            correct += int((step.logits.argmax(-1) == wanted).sum())
            seen += wanted.numel()
            advance(index + 1, f"loss {loss_sum / seen:.4f}")
    if not math.isfinite(loss_sum):
        raise TrainingError(f"the loss is {loss_sum} in epoch {number}", "try another --seed")
    judged = evaluate(model, validation)
    return Epoch(number, loss_sum / seen, correct / seen, judged[0], judged[1], elapsed())


def evaluate(model: LSTMModel, tokens: Tokens) -> tuple[float, float]:
    """Loss in nats per character, and accuracy between 0 and 1."""
    inputs, labels = map(torch.from_numpy, streams(tokens, EVALUATION_STREAMS))
    loss_sum, correct = 0.0, 0
    h, c = model.initial_state(EVALUATION_STREAMS)
    model.eval()
    for span in windows(inputs.shape[1], EVALUATION_WINDOW):
        with torch.no_grad():
            logits, h, c = model(inputs[:, span], h, c)
        wanted = labels[:, span]
        loss_sum += cross_entropy(logits, wanted).item() * wanted.numel()
        correct += int((logits.argmax(-1) == wanted).sum())
    return loss_sum / labels.numel(), correct / labels.numel()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over batch and time; logits are (batch, time, vocabulary)."""
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def generate(model: LSTMModel, vocabulary: Vocabulary, sampling: Sampling, seed: int) -> str:
    """Text that the model writes after a prompt; never the unknown token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.from_numpy(vocabulary.encode(sampling.prompt)).unsqueeze(0)  # (1, time)
    h, c = model.initial_state(1)
    written: list[int] = []
    model.eval()
    for _ in range(sampling.length):
        with torch.no_grad():
            logits, h, c = model(tokens, h, c)
        scores = logits[0, -1] / sampling.temperature  # (vocabulary,)
        scores[0] = -math.inf
        token = torch.multinomial(scores.softmax(0), 1, generator=generator)
        written.append(int(token))
        tokens = token.unsqueeze(0)
    return sampling.prompt + vocabulary.decode(written)


def better(best: Best, model: LSTMModel, epoch: Epoch) -> Best:
    """The best weights, this epoch's included."""
    if best.validation_loss <= epoch.validation_loss:
        return best
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    return Best(epoch.number, epoch.validation_loss, weights)


def restore_best(model: LSTMModel, best: Best) -> None:
    """Put the best weights into the model."""
    model.load_state_dict(best.weights)


def save_model(
    path: Path, model: LSTMModel, shape: Mapping[str, Any], vocabulary: Vocabulary
) -> None:
    """Write what `model.from_checkpoint` reads, with the vocabulary beside it."""
    _write(
        path,
        {
            "config": dict(shape),
            "vocabulary": list(vocabulary.characters),
            "state_dict": model.state_dict(),
        },
    )


def save_checkpoint(
    path: Path,
    model: LSTMModel,
    optimizer: Optimizer,
    best: Best,
    history: Sequence[Epoch],
    config: Mapping[str, object],
) -> None:
    """Write everything that a resumed run needs, as one file."""
    _write(
        path,
        {
            "config": dict(config),
            "history": [asdict(row) for row in history],
            "best": {
                "epoch": best.epoch,
                "validation_loss": best.validation_loss,
                "weights": best.weights,
            },
            "weights": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random_state": torch.get_rng_state(),
        },
    )


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; code in it isn't run.

    Raises:
        TrainingError: It isn't there, or isn't one.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(
            config=stored["config"],
            history=[Epoch(**row) for row in stored["history"]],
            best=Best(**stored["best"]),
            weights=stored["weights"],
            optimizer=stored["optimizer"],
            random_state=stored["random_state"],
        )
    except FileNotFoundError:
        raise TrainingError(
            f"there is no checkpoint {path}", "leave out --resume to start afresh"
        ) from None
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} isn't a checkpoint of this script ({type(error).__name__})",
            "leave out --resume to start afresh",
        ) from error


def restore(model: LSTMModel, optimizer: Optimizer, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's state into a freshly built model, its optimiser and torch's generator."""
    model.load_state_dict(checkpoint.weights)
    optimizer.load_state_dict(dict(checkpoint.optimizer))
    torch.set_rng_state(checkpoint.random_state)


def _descend(model: LSTMModel, optimizer: Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
    optimizer.step()


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # Through memory: torch reports a full disk as a RuntimeError of its zip writer.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())
