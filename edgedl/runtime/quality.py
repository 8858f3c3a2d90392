"""Quality on labelled samples: accuracy, or nats per character, beside the source's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.runtime.decisions import first_choice
from edgedl.runtime.errors import InputError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import (
    Manifest,
    Quality,
    TensorSpec,
    TextGeneration,
    Tolerance,
    Variant,
)
from edgedl.runtime.parity import classes_of
from edgedl.runtime.resize import cut

BATCH = "batch"
EVALUATION_BATCH = 256


def over_budget(quality: Quality | None, tolerance: Tolerance) -> str:
    """Why the quality budget is exceeded; empty when it holds."""
    if quality is None or tolerance.max_drop is None or quality.drop <= tolerance.max_drop:
        return ""
    lost = {
        "accuracy": f"{quality.drop:.2f} points of accuracy lost",
        "nats": f"{quality.drop:.2f} % more nats per character",
        "agreement": f"{quality.drop:.2f} % of the top-1 classes differ by more than the margin",
    }[quality.metric]
    return f"{lost} on {quality.samples} samples; at most {tolerance.max_drop:g} is allowed"


@dataclass(frozen=True)
class Answers:
    """What a model answered on labelled samples: its classes and their loss.

    `top1` is int64 with the labels' shape; `losses`, (samples,), are each sample's mean
    cross-entropy of its labels in nats, for outputs that are logits; empty for classes.
    """

    top1: Array
    losses: Array

    @property
    def nats(self) -> float:
        """The mean cross-entropy of all labels."""
        return float(self.losses.mean())


def answer(
    run: Runner,
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    labels: Array,
    output: str,
) -> Answers:
    """Run labelled samples in batches; state that is not given starts at zero.

    Args:
        run: One step: named inputs to named outputs.
        inputs: The model's inputs; the samples lie on their `batch` axes.
        samples: Arrays named after inputs.
        labels: int64, the shape of the output without its last axis.
        output: The output that holds scores or logits, or classes: those have no losses.
    """
    top1, losses = [], []
    for part, start, stop in batches(samples, inputs, EVALUATION_BATCH):
        logits = run({**zero_state(inputs, samples, stop - start), **part})[output]
        expected = labels[start:stop]
        decided = np.issubdtype(logits.dtype, np.integer)
        classes = first_choice(logits, expected.ndim) if decided else np.argmax(logits, -1)
        if classes.shape != expected.shape:
            raise InputError(
                f"labels of shape {list(expected.shape)} don't fit {output!r} of shape "
                f"{list(logits.shape)}",
                "there is one label for every position",
            )
        top1.append(classes)
        if not decided:
            losses.append(_cross_entropy(logits, expected).reshape(len(expected), -1).mean(-1))
    return Answers(np.concatenate(top1), np.concatenate(losses or [np.zeros(0)]))


def judge(
    answers: Answers,
    labels: Array,
    task: object,
    source_top1: Array,
    source: float,
    source_losses: Array | None = None,
) -> Quality:
    """A variant's answers as a quality beside the source framework's.

    Args:
        answers: What the variant answered.
        labels: The right classes.
        task: What the model is for.
        source_top1: The source's classes at the same positions.
        source: The source's own quality.
        source_losses: The source's `Answers.losses`; without them nats have no spread.
    """
    agreement, count = float(np.mean(answers.top1 == source_top1)), len(labels)
    if isinstance(task, TextGeneration):
        spread = None if source_losses is None else _spread(answers.losses - source_losses)
        return Quality("nats", answers.nats, source, agreement, count, spread=spread)
    ours, theirs = answers.top1 == labels, source_top1 == labels
    value = float(np.mean(ours))
    if labels.ndim > 1:
        shares = (theirs.astype(np.float64) - ours).reshape(count, -1).mean(-1)
        return Quality("accuracy", value, source, agreement, count, spread=_spread(shares))
    worse, better = int(np.sum(theirs & ~ours)), int(np.sum(ours & ~theirs))
    return Quality("accuracy", value, source, agreement, count, worse, better)


def _spread(differences: Array) -> float | None:
    return float(np.std(differences, ddof=1)) if len(differences) > 1 else None


def _cross_entropy(logits: Array, labels: Array) -> Array:
    x = logits.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    log_sum: Array = np.log(np.exp(x).sum(-1))
    picked = np.take_along_axis(x, labels[..., None].astype(np.int64), -1)[..., 0]
    return np.asarray(log_sum - picked)


def batches(
    samples: Mapping[str, Array], inputs: Sequence[TensorSpec], size: int
) -> Iterator[tuple[Arrays, int, int]]:
    """Samples in slices of the batch axis, each with its first and last index."""
    axes = {t.name: t.shape.index(BATCH) for t in inputs if BATCH in t.shape}
    count = min(samples[name].shape[axes[name]] for name in samples if name in axes)
    for start in range(0, count, size):
        stop = min(start + size, count)
        part = {
            name: cut(array, axes[name], start, stop) if name in axes else array
            for name, array in samples.items()
        }
        yield part, start, stop


def zero_state(inputs: Sequence[TensorSpec], given: Mapping[str, Array], batch: int) -> Arrays:
    """Zeros for the inputs that are not given; only their batch axis may be dynamic."""
    return {
        t.name: np.zeros([batch if d == BATCH else int(d) for d in t.shape], t.dtype)
        for t in inputs
        if t.name not in given
    }


def evaluate_variant(
    run: Runner,
    manifest: Manifest,
    variant: Variant,
    evaluation: tuple[Arrays, Array, Arrays],
) -> Quality:
    """A variant's quality on the samples that travel, beside the source's on the same."""
    samples, labels, source = evaluation
    output = classes_of(manifest)[0]
    answers = answer(run, manifest.inputs, samples, labels, output)
    expected = variant.eval_quality
    value = expected.source if expected is not None else math.nan
    return judge(answers, labels, manifest.task, source["source_top1"], value)
