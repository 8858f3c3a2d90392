"""Evidence: each variant's quality on labelled samples beside the source framework's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.export.errors import SamplesError
from edgedl.export.framing import as_pixels
from edgedl.export.interface import Interface
from edgedl.export.samples import Evaluation, Samples, check_samples, read_arrays
from edgedl.export.sources import Source
from edgedl.runtime.decisions import as_scores
from edgedl.runtime.errors import InputError
from edgedl.runtime.flips import Spread, has_positions, is_flip, lost_scores, margins
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import Quality, Task, TensorSpec
from edgedl.runtime.quality import BATCH, Answers, answer, judge

LABELS = "labels"
# What travels with the bundle: enough to see a fault, little enough to carry.
TRAVELLING_SAMPLES = 500
TRAVELLING_POSITIONS = 20_000


@dataclass(frozen=True)
class Labelled:
    """Labelled samples and what the source framework answers on them."""

    arrays: Arrays
    labels: Array
    output: str
    task: Task | None
    source: Answers

    @property
    def source_value(self) -> float:
        """The source's own quality, in the metric of the task."""
        return self.judge(self.source, 0.0).value

    def judge(self, answers: Answers, source_value: float) -> Quality:
        """Answers as a quality beside the source's."""
        source = self.source
        return judge(answers, self.labels, self.task, source.top1, source_value, source.losses)

    def quality(self, run: Runner, interface: Interface) -> Quality:
        """A model's quality on these samples."""
        answers = answer(run, interface.inputs, self.arrays, self.labels, self.output)
        return self.judge(answers, self.source_value)


def read_evaluation(path: Path, interface: Interface, source: Source) -> Evaluation:
    """Labelled samples: arrays named after inputs, and `labels`.

    State inputs may be left out; they start at zero.

    Raises:
        SamplesError: They don't fit the inputs, or have no integer labels.
    """
    arrays, sha256 = read_arrays(path)
    arrays = as_pixels(source, arrays, str(path))
    labels = arrays.pop(LABELS, None)
    if labels is None or not np.issubdtype(labels.dtype, np.integer):
        raise SamplesError(
            f"{path} has no integer array 'labels'", "store the right class of every sample in it"
        )
    state = {pair.input for pair in interface.state}
    specs = [s for s in interface.inputs if s.name not in state or s.name in arrays]
    check_samples(arrays, specs, str(path))
    kept = {spec.name: arrays[spec.name] for spec in specs}
    _check_labels(path, labels, kept, specs)
    return Evaluation(kept, labels.astype(np.int64), str(path), sha256)


def _check_labels(path: Path, labels: Array, arrays: Arrays, specs: list[TensorSpec]) -> None:
    sized = [(s, arrays[s.name].shape) for s in specs if BATCH in s.shape]
    if not sized:
        raise SamplesError(
            f"{path}: no input has a dynamic axis called {BATCH!r}, so samples can't be counted",
            f"name it with --dynamic INPUT:AXIS={BATCH}",
        )
    count = sized[0][1][sized[0][0].shape.index(BATCH)]
    if labels.shape[:1] != (count,):
        raise SamplesError(
            f"{path} has {count} samples, but labels of shape {list(labels.shape)}",
            "store one label per sample, or per position",
        )


def label(
    evaluation: Evaluation,
    interface: Interface,
    task: Task | None,
    source: Runner,
    counts: Mapping[str, int | str],
) -> Labelled:
    """Ask the source framework about every labelled sample.

    Args:
        evaluation: The labelled samples.
        interface: The model's outside.
        task: What the model is for.
        source: The framework's own answers.
        counts: How many classes each output tells apart.

    Raises:
        SamplesError: The labels don't fit the output they are for.
    """
    output = task.output if task is not None else _only_class_output(interface)
    spec = next(s for s in interface.outputs if s.name == output)
    single = any(d.output == output and not d.values for d in interface.decisions)
    positions = len(spec.shape) - (0 if single else 1)
    if evaluation.labels.ndim != positions:
        raise SamplesError(
            f"{evaluation.origin}: labels have {evaluation.labels.ndim} axes; output {spec} "
            f"wants {positions}",
            "store one label per sample, or per position",
        )
    classes = counts[output]
    low, high = int(evaluation.labels.min()), int(evaluation.labels.max())
    if low < 0 or (isinstance(classes, int) and high >= classes):
        raise SamplesError(
            f"{evaluation.origin}: labels from {low} to {high} don't fit {spec}",
            f"labels are positions on the last axis, from 0 to {classes} - 1",
        )
    try:
        answers = answer(source, interface.inputs, evaluation.arrays, evaluation.labels, output)
    except InputError as error:
        raise SamplesError(f"{evaluation.origin}: {error.message}", error.hint) from None
    return Labelled(evaluation.arrays, evaluation.labels, output, task, answers)


def _only_class_output(interface: Interface) -> str:
    if len(interface.classes) != 1:
        raise SamplesError(
            f"which output do the labels judge? The model has "
            f"{len(interface.classes)} outputs with classes",
            "name it with --task FILE.json",
        )
    return interface.classes[0]


def travelling(labelled: Labelled, interface: Interface, source: Runner) -> Labelled:
    """The first few hundred samples, which the bundle carries."""
    per_sample = max(1, labelled.labels[0].size)
    count = min(
        len(labelled.labels), TRAVELLING_SAMPLES, max(1, TRAVELLING_POSITIONS // per_sample)
    )
    kept = tuple(s for s in interface.inputs if s.name in labelled.arrays)
    arrays = Samples(labelled.arrays, kept, "", "").part(np.arange(count))
    labels = labelled.labels[:count]
    answers = answer(source, interface.inputs, arrays, labels, labelled.output)
    return Labelled(arrays, labels, labelled.output, labelled.task, answers)


def agreement(
    samples: Samples, interface: Interface, source: Runner, flip_margin: float
) -> Callable[[Runner], Quality] | None:
    """Without labels: how often a variant chooses the class that the source chooses.

    A flip counts where the source's margin is over `flip_margin`: what the source itself
    hardly tells apart is no loss when the variant tells it the other way.

    Returns:
        A function that judges a variant on these samples; None where no output has classes
        or no batch axis is dynamic.
    """
    if not interface.classes or not any(BATCH in s.shape for s in interface.inputs):
        return None
    output = interface.classes[0]
    behind = {decision.output: decision.scores for decision in interface.decisions}
    expected = source(samples.arrays)[behind.get(output, output)]
    if not has_positions(expected):
        return None
    spread = Spread().over(expected).value

    def quality(run: Runner) -> Quality:
        actual = run(samples.arrays)[output]
        if output in behind:
            actual = as_scores(actual, expected.shape)
        lost = margins(lost_scores(actual, expected), spread)
        kept = float(np.mean(lost <= flip_margin))
        same = 1.0 - float(np.mean(is_flip(actual, expected)))
        return Quality("agreement", kept, 1.0, same, samples.count)

    return quality


def pack(labelled: Labelled) -> Mapping[str, Array]:
    """The arrays of a bundle's eval.npz; see `edgedl.runtime.golden.read_evaluation`."""
    return {**labelled.arrays, LABELS: labelled.labels, "source_top1": labelled.source.top1}
