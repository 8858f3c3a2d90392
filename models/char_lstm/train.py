"""Train the character LSTM on a text and leave what `edgedl export` takes.

    python -m models.char_lstm.train                      # Python's language reference
    python -m models.char_lstm.train --text novel.txt     # a UTF-8 text of your own
    python -m models.char_lstm.train --epochs 1           # a quick look
    python -m models.char_lstm.train --resume             # go on after an interruption

In --out: model.pt, checkpoint.pt, record.json, history.json, curves.png, and for the export
samples.npz, eval.npz and task.json. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from models import curves, saving, training
from models.char_lstm import data, ngram
from models.char_lstm.data import Sampling
from models.training import Epoch, announce, say

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from models.char_lstm.learning import Best
    from models.char_lstm.model import LSTMModel

MODULE = "models.char_lstm.train"
LEARNING_RATE = 5e-3  # at its peak
SAMPLE = Sampling(prompt="The ", length=400, temperature=0.7)


@dataclass(frozen=True)
class Options:
    """What the person asked for."""

    epochs: int
    batch_size: int
    sequence: int
    hidden_size: int
    layers: int
    embedding_size: int
    dropout: float
    seed: int
    text: Path | None
    out: Path
    resume: bool

    @property
    def checkpoint(self) -> Path:
        """Where every finished epoch is kept."""
        return self.out / "checkpoint.pt"


@dataclass(frozen=True)
class Material:
    """A text, ready: its vocabulary, its splits as tokens, and the loss to beat."""

    corpus: data.Corpus
    vocabulary: data.Vocabulary
    train: data.Tokens
    validation: data.Tokens
    test: data.Tokens
    baseline: float


@click.command(context_settings={"show_default": True})
@click.option("--epochs", type=click.IntRange(1), default=4, help="Passes over the text.")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, help="Parallel streams.")
@click.option("--sequence", type=click.IntRange(1, 4096), default=32, help="Characters a step.")
@click.option("--hidden-size", type=click.IntRange(1, 4096), default=256, help="LSTM units.")
@click.option("--layers", type=click.IntRange(1, 16), default=2, help="LSTM layers.")
@click.option("--embedding-size", type=click.IntRange(0, 4096), default=64, help="0: one-hot.")
@click.option(
    "--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="While training."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of every draw.")
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    help="UTF-8 text to learn; Python's own language reference otherwise.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="build/text", help="Folder for results."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
def main(**options: object) -> None:
    """Train a character-level LSTM language model.

    Example: python -m models.char_lstm.train --text novel.txt --out build/text
    """
    chosen = Options(**options)  # type: ignore[arg-type]  # click has parsed and typed them
    invocation = training.Invocation(MODULE, sys.argv[1:], chosen.checkpoint)
    with training.boundary(invocation):
        train(chosen, invocation)


def train(options: Options, invocation: training.Invocation) -> None:
    """Run the four steps."""
    elapsed = training.stopwatch()
    saving.make_folder(options.out)

    announce("data preparation")
    material = prepare(options.text)

    announce("building")
    learning = import_learning()
    shape = model_shape(options, material.vocabulary)
    config = run_config(options, shape, material.corpus)
    plan = learning.Plan(options.epochs, options.batch_size, options.sequence, LEARNING_RATE)
    model, optimizer = learning.build(shape, options.seed)
    best: Best = learning.NOTHING_YET
    history: list[Epoch] = []
    if options.resume:
        best, history = resume(learning, model, optimizer, options, config)
    say(f"LSTM: {learning.count(model)} parameters, {len(history)} epochs trained so far")

    announce("training")
    for number in range(len(history) + 1, options.epochs + 1):
        epoch = learning.train_epoch(
            model, optimizer, material.train, material.validation, number, plan
        )
        history = [*history, epoch]
        best = learning.better(best, model, epoch)
        learning.save_checkpoint(options.checkpoint, model, optimizer, best, history, config)
        say(epoch.line(options.epochs))

    announce("evaluation")
    learning.restore_best(model, best)
    loss, accuracy = learning.evaluate(model, material.test)
    say(f"kept epoch {best.epoch}; test loss {loss:.4f}  accuracy {100 * accuracy:.2f} %")
    learning.save_model(options.out / "model.pt", model, shape, material.vocabulary)
    write_history(options.out, history, material.baseline)
    write_export_inputs(options, material)
    record = saving.run_record(
        command=invocation.command(),
        config={**config, "epochs": options.epochs},
        data={
            "origin": material.corpus.origin,
            "sha256": material.corpus.sha256,
            "characters": len(material.corpus.text),
            "removed_by_cleaning": material.corpus.removed,
        },
        metrics={
            "best_epoch": best.epoch,
            "validation_loss": best.validation_loss,
            "validation_loss_3gram": material.baseline,
            "test_loss": loss,
            "test_accuracy": accuracy,
        },
        seconds={"epochs": sum(row.seconds for row in history), "this_run": elapsed()},
        modules=("torch", "numpy"),
    )
    saving.write_json(options.out / "record.json", record)
    click.echo(learning.generate(model, material.vocabulary, SAMPLE, options.seed))
    click.echo(
        f"\nvalidation {best.validation_loss:.2f} nats/char,"
        f" 3-gram baseline {material.baseline:.2f}"
    )
    click.echo(export_command(options.out))


def prepare(text: Path | None) -> Material:
    """Read, clean, split and tokenise a text, and measure the baseline on it."""
    corpus = data.load_corpus(text)
    split = data.split_text(corpus.text)
    vocabulary = data.build_vocabulary(split.train)
    train, validation = vocabulary.encode(split.train), vocabulary.encode(split.validation)
    counts = ngram.count(train, len(vocabulary))
    judged = data.whole_streams(validation, data.EVALUATION_STREAMS)
    baseline = ngram.nats_per_character(counts, judged)
    say(f"{corpus.origin}: {len(corpus.text)} characters, {corpus.removed} removed by cleaning")
    say(
        f"{len(train)} training, {len(validation)} validation, {len(split.test)} test characters,"
        f" {len(vocabulary)} tokens"
    )
    say(f"3-gram baseline: validation loss {baseline:.4f}")
    return Material(corpus, vocabulary, train, validation, vocabulary.encode(split.test), baseline)


def import_learning() -> ModuleType:
    """The file that needs torch, loaded late: `--help` and usage errors shouldn't wait for it."""
    try:
        from models.char_lstm import learning
    except ImportError as error:
        raise training.framework_missing(error, "torch") from error
    return learning


def model_shape(options: Options, vocabulary: data.Vocabulary) -> dict[str, int | float]:
    """LSTMModel's arguments; they travel with the weights."""
    return {
        "input_size": len(vocabulary),
        "hidden_size": options.hidden_size,
        "output_size": len(vocabulary),
        "num_layers": options.layers,
        "embedding_size": options.embedding_size,
        "dropout": options.dropout,
    }


def run_config(
    options: Options, shape: Mapping[str, int | float], corpus: data.Corpus
) -> dict[str, object]:
    """What a resumed run must have in common with the run it continues."""
    return {
        "seed": options.seed,
        "batch_size": options.batch_size,
        "sequence": options.sequence,
        "learning_rate": LEARNING_RATE,
        **shape,
        "text_sha256": corpus.sha256,
    }


def resume(
    learning: ModuleType,
    model: LSTMModel,
    optimizer: Optimizer,
    options: Options,
    config: Mapping[str, object],
) -> tuple[Best, list[Epoch]]:
    """Put the checkpoint's state into model, optimiser and random generator.

    Returns:
        The best weights so far, and the epochs that the checkpoint has behind it.
    """
    checkpoint = learning.read_checkpoint(options.checkpoint)
    training.check_same_config(options.checkpoint, checkpoint.config, config)
    training.check_epochs_left(options.checkpoint, len(checkpoint.history), options.epochs)
    learning.restore(model, optimizer, checkpoint)
    return checkpoint.best, list(checkpoint.history)


def write_history(out: Path, history: Sequence[Epoch], baseline: float) -> None:
    """Numbers and picture of how the model got there."""
    saving.write_json(out / "history.json", [asdict(row) for row in history])
    labels = curves.Labels(
        "Character LSTM",
        "cross-entropy (nats per character)",
        "next-character accuracy",
        ("3-gram baseline", baseline),
    )
    curves.draw(out / "curves.png", history, labels)


def write_export_inputs(options: Options, material: Material) -> None:
    """Calibration samples, the evaluation set and the task, for `edgedl export`."""
    samples = data.calibration_samples(
        material.train, options.layers, options.hidden_size, options.seed
    )
    saving.write_npz(options.out / "samples.npz", samples)
    saving.write_npz(options.out / "eval.npz", data.evaluation_set(material.test))
    task = {
        "kind": "text-generation",
        "input": "tokens",
        "output": "logits",
        "vocabulary": {"tokens": list(material.vocabulary.characters), "unknown": 0},
    }
    saving.write_json(options.out / "task.json", task)


def export_command(out: Path) -> str:
    """What to run next."""
    command = ["edgedl", "export", "models/char_lstm/model.py:from_checkpoint"]
    command += ["--weights", f"{out}/model.pt", "-o", "text.bundle"]
    command += ["--samples", f"{out}/samples.npz", "--eval", f"{out}/eval.npz"]
    command += ["--task", f"{out}/task.json"]
    for axis in ("tokens:0=batch", "tokens:1=time", "h:1=batch", "c:1=batch"):
        command += ["--dynamic", axis]
    return shlex.join(command)


if __name__ == "__main__":
    main(prog_name=f"python -m {MODULE}")
