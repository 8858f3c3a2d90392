"""The picture of a training run: loss and accuracy over the epochs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.saving import replacing
from models.training import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING_COLOUR, VALIDATION_COLOUR, BASELINE_COLOUR = "#4c78a8", "#e4572e", "#6b6b6b"
INCHES, DOTS_PER_INCH = (10, 4.2), 150


@dataclass(frozen=True)
class Labels:
    """The words on a picture, and the loss of a model to beat where there is one."""

    title: str
    loss: str
    accuracy: str
    baseline: tuple[str, float] | None = None


def draw(path: Path, history: Sequence[Epoch], labels: Labels) -> None:
    """Write the picture as PNG."""
    # A terminal isn't the place for notes about font caches and configuration folders.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    figure.suptitle(labels.title)
    _lines(loss, history, [row.loss for row in history], [row.validation_loss for row in history])
    loss.set_ylabel(labels.loss)
    if labels.baseline is not None:
        _baseline(loss, *labels.baseline)
    _lines(
        accuracy,
        history,
        [100 * row.accuracy for row in history],
        [100 * row.validation_accuracy for row in history],
    )
    accuracy.set_ylabel(f"{labels.accuracy} (%)")
    for axes in (loss, accuracy):
        axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)


def _lines(
    axes: Axes, history: Sequence[Epoch], train: Sequence[float], validation: Sequence[float]
) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row.number for row in history]
    axes.plot(epochs, train, "o-", color=TRAINING_COLOUR, markersize=4, label="training")
    axes.plot(epochs, validation, "o-", color=VALIDATION_COLOUR, markersize=4, label="validation")
    axes.annotate(
        f"{validation[-1]:.3g}" if validation[-1] < 10 else f"{validation[-1]:.2f}",
        (epochs[-1], validation[-1]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="right",
        color=VALIDATION_COLOUR,
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _baseline(axes: Axes, name: str, loss: float) -> None:
    axes.axhline(
        loss, color=BASELINE_COLOUR, linestyle="--", linewidth=1.2, label=f"{name} ({loss:.2f})"
    )
