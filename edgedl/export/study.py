"""What the source framework says of the model: interface, golden vectors, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgedl.export import evidence, samples
from edgedl.export.axes import Refusal
from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.framing import as_pixels, decisions_of
from edgedl.export.interface import Interface, fitting_pairs, infer_outputs, name_outputs
from edgedl.export.judgement import FLIP_MARGIN, Judge, Judgement
from edgedl.export.request import ExportRequest
from edgedl.export.samples import Samples
from edgedl.export.source_golden import add_sequences, ask_source
from edgedl.export.sources import KnowsSizes, Source, describe_arrays
from edgedl.export.stages import Reference
from edgedl.export.unmoved import unmoved_outputs
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import (
    Decision,
    ImageClassification,
    StatePair,
    Task,
    TensorSpec,
    dynamic_axes,
)
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes


@dataclass(frozen=True)
class Study:
    """Everything later stages need of the source.

    `unmoved` are outputs that answer every sample alike.
    """

    source: Source
    given: Samples
    calibration: Samples
    reference: Reference
    judge: Judge
    evaluation: samples.Evaluation | None
    in_parts: str
    refused: tuple[Refusal, ...]
    unmoved: tuple[str, ...]

    @property
    def interface(self) -> Interface:
        """The exported model's outside."""
        return self.reference.interface

    @property
    def example(self) -> Arrays:
        """One call's inputs with every dynamic axis at its largest golden size."""
        return largest_call(self.reference.golden).inputs

    def judgement(self, max_drop: float) -> Judgement:
        """What every variant is held to; `max_drop` as in `ExportRequest`."""
        return Judgement(self.reference, self.judge, max_drop)


def study_source(source: Source, request: ExportRequest) -> Study:
    """Run the source on the samples and write down its answers.

    Raises:
        SamplesError: Samples that don't fit.
        SourceError: The source fails, or answers differently each time.
    """
    given = _gather_samples(source, request)
    names, state, ask = _name_tensors(source, given, request.state)
    decisions = decisions_of(source)
    names = tuple(name for name in names if name not in {d.scores for d in decisions})
    blank = tuple(TensorSpec(name, "float32", ()) for name in names)
    interface = Interface(given.specs, blank, state, decisions)
    evaluation = (
        evidence.read_evaluation(request.evaluation, interface, source)
        if request.evaluation
        else None
    )
    golden_samples, calibration = samples.split(given, evaluation)
    asked, refused = ask_source(ask, interface, golden_samples)
    others = samples.other_sizes(given, [v.case for v in asked])
    calibration = replace(calibration, others=others)
    golden = [_scores_apart(vectors, interface.decisions) for vectors in asked]
    _check_repeatable(ask, golden[0])
    single = [(v.case.sizes, v.outputs) for v in golden if v.case.is_single]
    interface = replace(interface, outputs=infer_outputs(names, single))
    classes = _count_classes(interface, golden[0])
    _check_task(request.task, interface, classes)
    judge = _judge(evaluation, interface, request.task, ask, golden_samples, classes)
    proof = add_sequences(ask, interface, golden_samples, golden, request.task)
    reference = Reference(interface, proof.golden, request.task)
    unmoved = unmoved_outputs(interface, golden)
    return Study(
        source,
        given,
        calibration,
        reference,
        judge,
        evaluation,
        proof.in_parts,
        refused,
        unmoved,
    )


def _gather_samples(source: Source, request: ExportRequest) -> Samples:
    """The user's samples, or some made up from the source's own specs."""
    if request.samples is None:
        specs = source.input_specs(None, request.dynamic)
        sizes = source.sizes if isinstance(source, KnowsSizes) else {}
        return Samples(samples.generate(specs, sizes), specs, samples.GENERATED, "")
    arrays, sha256 = samples.read_arrays(request.samples)
    specs = source.input_specs(arrays, request.dynamic)
    arrays = as_pixels(source, arrays, str(request.samples))
    unknown = sorted(arrays.keys() - {s.name for s in specs} - {evidence.LABELS})
    if unknown:
        raise SamplesError(
            f"{request.samples} has an array {unknown[0]!r} that is no input",
            "inputs: " + "; ".join(str(s) for s in specs),
        )
    samples.check_samples(arrays, specs, str(request.samples))
    kept = {s.name: arrays[s.name] for s in specs}
    return Samples(kept, specs, str(request.samples), sha256)


def _name_tensors(
    source: Source, given: Samples, declared: Sequence[StatePair]
) -> tuple[tuple[str, ...], tuple[StatePair, ...], Runner]:
    """Public output names, state pairs, and the source as a runner under those names."""
    one = resize_axes(given.arrays, given.specs, {BATCH: 1})
    raw, values = source.run(one)
    names, pairs = name_outputs(raw, [s.name for s in given.specs], declared)
    answered = dict(zip(names, values, strict=True))
    state = fitting_pairs(pairs, declared, given.specs, answered)
    _check_numbers(answered)

    # An axis too short for a kernel may answer nothing; so may a mask that hides every row.
    sized = any(axis != BATCH for axis in dynamic_axes(given.specs))

    def ask(feeds: Arrays) -> Arrays:
        answers = dict(zip(names, source.run(feeds)[1], strict=True))
        if sized and not any(answer.size for answer in answers.values()):
            raise SourceError(f"the source answers nothing on {describe_arrays(feeds)}")
        _check_numbers(answers)
        return answers

    return names, state, ask


def _scores_apart(vectors: GoldenVectors, decisions: Sequence[Decision]) -> GoldenVectors:
    """The scores behind outputs that give classes are no outputs."""
    behind = {d.scores: d.output for d in decisions}
    return replace(
        vectors,
        outputs={n: a for n, a in vectors.outputs.items() if n not in behind},
        scores={behind[n]: a for n, a in vectors.outputs.items() if n in behind},
    )


def _count_classes(interface: Interface, vectors: GoldenVectors) -> dict[str, int | str]:
    """How many classes each output's scores, or those behind it, have."""
    plain = {s.name: s.shape[-1] if s.shape else 1 for s in interface.outputs}
    return {**plain, **{name: scores.shape[-1] for name, scores in vectors.scores.items()}}


def _check_numbers(answers: Arrays) -> None:
    """Refuse NaN: a weight that is, or a size at which a mask hides everything."""
    for name, value in answers.items():
        if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any():
            raise SourceError(
                f"the source's own output {name!r} holds NaN", "check its weights and the samples"
            )


def _check_repeatable(ask: Runner, vectors: GoldenVectors) -> None:
    again = ask(vectors.inputs)
    for name, expected in vectors.outputs.items():
        if not np.array_equal(again[name], expected, equal_nan=expected.dtype.kind == "f"):
            raise SourceError(
                f"the source's output {name!r} differs from run to run on one input",
                "is dropout left on, or noise drawn, in inference too? A torch module's forward "
                "passes training=self.training",
            )


def _check_task(task: Task | None, interface: Interface, classes: Mapping[str, int | str]) -> None:
    if task is None:
        return
    inputs = {s.name: s for s in interface.inputs}
    outputs = {s.name: s for s in interface.outputs}
    if task.input not in inputs or task.output not in outputs:
        raise SamplesError(
            f"the task speaks of {task.input!r} and {task.output!r}",
            f"inputs: {', '.join(inputs)}; outputs: {', '.join(outputs)}",
        )
    if classes[task.output] != len(task.classes):
        kind = "labels" if isinstance(task, ImageClassification) else "tokens"
        raise SamplesError(
            f"the task has {len(task.classes)} {kind}, but output {outputs[task.output]}"
        )


def _judge(
    evaluation: samples.Evaluation | None,
    interface: Interface,
    task: Task | None,
    ask: Runner,
    golden_samples: Samples,
    classes: Mapping[str, int | str],
) -> Judge:
    if evaluation is None:
        return Judge(agreement=evidence.agreement(golden_samples, interface, ask, FLIP_MARGIN))
    labelled = evidence.label(evaluation, interface, task, ask, classes)
    travelling = evidence.travelling(labelled, interface, ask)
    return Judge(labelled, travelling)
