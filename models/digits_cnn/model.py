"""The digits network: built, trained for an epoch, saved and restored. Needs Keras."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.digits_cnn.data import Examples
from models.saving import replacing, write_npz
from models.training import Advance, Epoch, TrainingError, progress, stopwatch

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Checkpoint:
    """What an interrupted run goes on from; the shuffling needs only the epoch's number."""

    config: Mapping[str, object]
    history: Sequence[Epoch]
    weights: Sequence[np.ndarray[Any, Any]]
    optimizer: Sequence[np.ndarray[Any, Any]]


class Bar(keras.callbacks.Callback):  # type: ignore[misc]
    """Moves a progress bar with every training step."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self.advance = advance

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Show the epoch's mean loss so far."""
        self.advance(batch + 1, f"loss {logs['loss']:.4f}" if logs else "")


def build(seed: int, learning_rate: float) -> keras.Model:
    """The network, compiled: image (n, 28, 28, 1) to probabilities (n, 10)."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Conv2D(32, 3, activation="relu")(image)  # (n, 26, 26, 32)
    x = keras.layers.MaxPooling2D(2)(x)  # (n, 13, 13, 32)
    x = keras.layers.Flatten()(x)  # (n, 5408)
    x = keras.layers.Dense(128, activation="relu")(x)
    probabilities = keras.layers.Dense(10, activation="softmax", name="probabilities")(x)
    model = keras.Model(image, probabilities, name="digits_cnn")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def train_epoch(
    model: keras.Model,
    shuffled: Examples,
    validation: Examples,
    number: int,
    batch_size: int,
) -> Epoch:
    """One pass over the images in the order given, then the validation images.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    elapsed = stopwatch()
    with progress(f"epoch {number}", math.ceil(len(shuffled) / batch_size)) as advance:
        fitted = model.fit(
            shuffled.images,
            shuffled.labels,
            batch_size=batch_size,
            shuffle=False,  # so that a resumed run sees the order that this run would have
            verbose=0,
            callbacks=[Bar(advance)],
        ).history
    loss, accuracy = fitted["loss"][0], fitted["accuracy"][0]
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} in epoch {number}", "try another --seed")
    return Epoch(number, loss, accuracy, *evaluate(model, validation), elapsed())


def evaluate(model: keras.Model, examples: Examples) -> tuple[float, float]:
    """Loss in nats, and accuracy between 0 and 1."""
    loss, accuracy = model.evaluate(
        examples.images, examples.labels, batch_size=EVALUATION_BATCH, verbose=0
    )
    return float(loss), float(accuracy)


def save_model(path: Path, model: keras.Model) -> None:
    """Write a `.keras` file atomically."""
    with replacing(path) as temporary:
        model.save(temporary)


def save_checkpoint(
    path: Path, model: keras.Model, config: Mapping[str, object], history: Sequence[Epoch]
) -> None:
    """Write weights, optimiser state, history and configuration as one file."""
    facts = {"config": dict(config), "history": [asdict(row) for row in history]}
    optimizer = [variable.numpy() for variable in model.optimizer.variables]
    write_npz(
        path,
        {
            "facts": np.array(json.dumps(facts)),
            **_numbered("weights", model.get_weights()),
            **_numbered("optimizer", optimizer),
        },
    )


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: It isn't there, or isn't one.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            return Checkpoint(
                config=facts["config"],
                history=[Epoch(**row) for row in facts["history"]],
                weights=_in_order(arrays, "weights"),
                optimizer=_in_order(arrays, "optimizer"),
            )
    except FileNotFoundError:
        raise TrainingError(
            f"there is no checkpoint {path}", "leave out --resume to start afresh"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path} isn't a checkpoint of this script: {error}",
            "leave out --resume to start afresh",
        ) from error


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's numbers into a freshly built model and its optimiser."""
    model.set_weights(list(checkpoint.weights))
    for variable, value in zip(model.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)


def _numbered(
    prefix: str, arrays: Sequence[np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    return {f"{prefix}/{number}": array for number, array in enumerate(arrays)}


def _in_order(arrays: Mapping[str, Any], prefix: str) -> list[np.ndarray[Any, Any]]:
    count = sum(name.startswith(f"{prefix}/") for name in arrays)
    return [arrays[f"{prefix}/{number}"] for number in range(count)]
