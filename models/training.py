"""What a training run says and how it ends: steps, progress, errors and interruption.

Everything here goes to stderr; a script prints its results to stdout itself.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

STEPS = ("data preparation", "building", "training", "evaluation")

Advance = Callable[[int, str], None]


class TrainingError(Exception):
    """Something the person can act on.

    Args:
        message: One line that names the cause.
        hint: One line that names the next step; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Epoch:
    """One row of a run's history. Losses are in nats, accuracies between 0 and 1."""

    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float

    def line(self, epochs: int) -> str:
        """The row as a person reads it while the run goes on."""
        return (
            f"epoch {self.number:>{len(str(epochs))}}/{epochs}"
            f"  loss {self.loss:.4f}  accuracy {100 * self.accuracy:.2f} %"
            f"  validation loss {self.validation_loss:.4f}"
            f"  accuracy {100 * self.validation_accuracy:.2f} %"
            f"  {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Invocation:
    """How this run was started: what to type again to continue it."""

    module: str
    arguments: Sequence[str]
    checkpoint: Path

    def command(self) -> str:
        """What was typed."""
        return shlex.join(["python", "-m", self.module, *self.arguments])

    def resume_command(self) -> str:
        """The same with `--resume`."""
        return self.command() if "--resume" in self.arguments else f"{self.command()} --resume"


def say(line: str) -> None:
    """One line on stderr."""
    click.echo(line, err=True)


def announce(step: str) -> None:
    """Say which of the four steps begins."""
    click.secho(f"[{STEPS.index(step) + 1}/{len(STEPS)}] {step}", bold=True, err=True)


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """A bar on a terminal that is gone when its block ends; nothing elsewhere.

    Yields:
        A function of how many units are done by now and a short note beside the bar.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda done, note: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Swallow what native code writes to file descriptor 2, such as TensorFlow's start-up notes.

    Those lines appear before TensorFlow reads TF_CPP_MIN_LOG_LEVEL. Exceptions pass.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def boundary(invocation: Invocation) -> Iterator[None]:
    """Turn errors into one line and a hint, and Ctrl-C into how to continue."""
    before = _modified(invocation.checkpoint)
    resumed = "--resume" in invocation.arguments
    try:
        yield
    except TrainingError as error:
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        # A checkpoint of an earlier run isn't a place that this run can go on from.
        saved = resumed or _modified(invocation.checkpoint) != before
        say(_interruption(invocation, saved))
        raise SystemExit(130) from None


def framework_missing(error: ImportError, install: str) -> TrainingError:
    """The error for a framework that isn't installed or doesn't load."""
    reason = " ".join(str(error).split())[:200]
    return TrainingError(f"the framework can't be imported: {reason}", f"pip install {install}")


def check_same_config(
    checkpoint: Path, stored: Mapping[str, object], wanted: Mapping[str, object]
) -> None:
    """Refuse to continue a run that was started differently.

    Raises:
        TrainingError: Names the first setting that differs.
    """
    for name, value in wanted.items():
        if stored.get(name) != value:
            was, now = stored.get(name), value
            raise TrainingError(
                f"{checkpoint} belongs to another run: {name} was {was}, now it is {now}",
                "repeat that run's options, or leave out --resume to start afresh",
            )


def check_epochs_left(checkpoint: Path, done: int, epochs: int) -> None:
    """Refuse a resumed run that asks for fewer epochs than there are."""
    if done > epochs:
        raise TrainingError(
            f"{checkpoint} already has {done} epochs, more than --epochs {epochs}",
            f"ask for --epochs {done} or more, or leave out --resume to start afresh",
        )


def stopwatch() -> Callable[[], float]:
    """Seconds since this call."""
    start = time.perf_counter()
    return lambda: time.perf_counter() - start


def _interruption(invocation: Invocation, saved: bool) -> str:
    if saved:
        return f"\ninterrupted; continue with: {invocation.resume_command()}"
    return "\ninterrupted before the first epoch was saved; start again without --resume"


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
