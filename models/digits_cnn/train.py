"""Train the digits network on MNIST and leave what `edgedl export` takes.

    python -m models.digits_cnn.train                       # the default recipe, about 98.6 %
    python -m models.digits_cnn.train --epochs 1            # a quick look
    python -m models.digits_cnn.train --data-dir ~/mnist    # your own copy of the four files
    python -m models.digits_cnn.train --resume              # go on after an interruption

In --out: model.keras, checkpoint.npz, record.json, history.json, curves.png, and for the export
samples.npz, eval.npz and task.json. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click
import numpy as np

from models import curves, saving, training
from models.digits_cnn import data
from models.training import Epoch, announce, say

if TYPE_CHECKING:
    import keras

MODULE = "models.digits_cnn.train"
LEARNING_RATE = 1e-3
HELD_OUT = 1 / 12  # of the training images, for validation: 5,000 of 60,000
SAMPLES = 600  # training images that set the quantisation ranges at export
FEWEST, MOST = 1_000, 60_000  # training images, those held out included
MOST_IN_BATCH = 4096


@dataclass(frozen=True)
class Options:
    """What the person asked for."""

    epochs: int
    batch_size: int
    seed: int
    limit: int | None
    data_dir: Path | None
    out: Path
    resume: bool

    @property
    def checkpoint(self) -> Path:
        """Where every finished epoch is kept."""
        return self.out / "checkpoint.npz"


@click.command(context_settings={"show_default": True})
@click.option("--epochs", type=click.IntRange(1), default=5, help="Passes over the images.")
@click.option(
    "--batch-size", type=click.IntRange(1, MOST_IN_BATCH), default=64, help="Images a step."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of every draw.")
@click.option("--limit", type=click.IntRange(FEWEST, MOST), help="Use only so many images.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with the four MNIST files, raw or .gz; fetched and cached otherwise.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="build/digits", help="Folder for results."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
def main(
    epochs: int,
    batch_size: int,
    seed: int,
    limit: int | None,
    data_dir: Path | None,
    out: Path,
    resume: bool,
) -> None:
    """Train the digits network on MNIST.

    Example: python -m models.digits_cnn.train --epochs 5 --out build/digits
    """
    options = Options(epochs, batch_size, seed, limit, data_dir, out, resume)
    invocation = training.Invocation(MODULE, sys.argv[1:], options.checkpoint)
    with training.boundary(invocation):
        train(options, invocation)


def train(options: Options, invocation: training.Invocation) -> None:
    """Run the four steps."""
    elapsed = training.stopwatch()
    saving.make_folder(options.out)

    announce("data preparation")
    digits = data.load(options.data_dir)
    examples, validation = hold_out(digits.train, options.limit, options.seed)
    say(f"MNIST from {digits.origin}")
    say(f"{len(examples)} training, {len(validation)} validation, {len(digits.test)} test digits")

    announce("building")
    network = import_network()
    model = network.build(options.seed, LEARNING_RATE)
    config = run_config(options)
    history = resume(network, model, options, config) if options.resume else []
    say(f"{model.name}: {model.count_params()} parameters, {len(history)} epochs trained so far")

    announce("training")
    for number in range(len(history) + 1, options.epochs + 1):
        order = np.random.default_rng((options.seed, number)).permutation(len(examples))
        epoch = network.train_epoch(
            model, examples.take(order), validation, number, options.batch_size
        )
        history = [*history, epoch]
        network.save_checkpoint(options.checkpoint, model, config, history)
        say(epoch.line(options.epochs))

    announce("evaluation")
    loss, accuracy = network.evaluate(model, digits.test)
    write_results(network, model, history, options.out)
    write_export_inputs(options, examples, digits.test)
    record = saving.run_record(
        command=invocation.command(),
        config={**config, "epochs": options.epochs},
        data={"origin": digits.origin, "sha256": dict(digits.sha256)},
        metrics={"test_loss": loss, "test_accuracy": accuracy, "test_digits": len(digits.test)},
        seconds={"epochs": sum(row.seconds for row in history), "this_run": elapsed()},
        modules=("keras", "tensorflow", "numpy"),
    )
    saving.write_json(options.out / "record.json", record)
    click.echo(f"test accuracy {100 * accuracy:.2f} % ({len(digits.test)} digits)")
    click.echo(export_command(options.out))


def hold_out(
    train: data.Examples, limit: int | None, seed: int
) -> tuple[data.Examples, data.Examples]:
    """Training and validation images: a seeded draw of `limit`, whose last part is held out."""
    order = np.random.default_rng(seed).permutation(len(train))[:limit]
    held = round(HELD_OUT * len(order))
    return train.take(order[:-held]), train.take(order[-held:])


def import_network() -> ModuleType:
    """The file that needs Keras, loaded late: `--help` and usage errors shouldn't wait for it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with training.quiet_stderr():
            from models.digits_cnn import model
    except ImportError as error:
        raise training.framework_missing(error, "tensorflow keras") from error
    return model


def resume(
    network: ModuleType, model: keras.Model, options: Options, config: Mapping[str, object]
) -> list[Epoch]:
    """Put the checkpoint's state into the model.

    Returns:
        The epochs that the checkpoint has behind it.
    """
    checkpoint = network.read_checkpoint(options.checkpoint)
    training.check_same_config(options.checkpoint, checkpoint.config, config)
    training.check_epochs_left(options.checkpoint, len(checkpoint.history), options.epochs)
    network.restore(model, checkpoint)
    return list(checkpoint.history)


def run_config(options: Options) -> dict[str, object]:
    """What a resumed run must have in common with the run it continues."""
    return {
        "seed": options.seed,
        "batch_size": options.batch_size,
        "limit": options.limit,
        "learning_rate": LEARNING_RATE,
    }


def write_results(
    network: ModuleType, model: keras.Model, history: Sequence[Epoch], out: Path
) -> None:
    """The trained model, and how it got there."""
    network.save_model(out / "model.keras", model)
    saving.write_json(out / "history.json", [asdict(row) for row in history])
    labels = curves.Labels("Digits CNN on MNIST", "cross-entropy (nats)", "accuracy")
    curves.draw(out / "curves.png", history, labels)


def write_export_inputs(options: Options, examples: data.Examples, test: data.Examples) -> None:
    """Calibration samples, the labelled evaluation set and the task, for `edgedl export`."""
    generator = np.random.default_rng((options.seed, 0))  # epochs count from 1
    drawn = np.sort(generator.choice(len(examples), SAMPLES, replace=False))
    saving.write_npz(options.out / "samples.npz", {"image": examples.images[drawn]})
    saving.write_npz(options.out / "eval.npz", {"image": test.images, "labels": test.labels})
    task = {
        "kind": "image-classification",
        "input": "image",
        "output": "probabilities",
        "labels": [str(digit) for digit in range(data.CLASSES)],
        "scale": data.SCALE,
        "offset": 0.0,
    }
    saving.write_json(options.out / "task.json", task)


def export_command(out: Path) -> str:
    """What to run next."""
    command = ["edgedl", "export", f"{out}/model.keras", "-o", "digits.bundle"]
    command += ["--samples", f"{out}/samples.npz", "--eval", f"{out}/eval.npz"]
    command += ["--task", f"{out}/task.json"]
    return shlex.join(command)


if __name__ == "__main__":
    main(prog_name=f"python -m {MODULE}")
