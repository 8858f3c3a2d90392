"""Parity: outputs compared with the source framework's, and the verdict.

The same code judges every stage of an export and, later, a device: it needs only
NumPy and a way to run a step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import (
    Manifest,
    OutputParity,
    StatePair,
    Task,
    TensorSpec,
    Tolerance,
)
from edgedl.runtime.tally import Role, Tally

Runner = Callable[[Arrays], Arrays]


def run_case(run: Runner, vectors: GoldenVectors, state: Sequence[StatePair]) -> Arrays:
    """The outputs of one golden case, state fed back from step to step.

    Per-step inputs and outputs are stacked on a leading axis of steps; see
    `edgedl.runtime.golden`.
    """
    if vectors.case.steps == 1:
        return run(vectors.inputs)
    fed_back = {pair.input: pair.output for pair in state}
    feeds = {name: vectors.inputs[name] for name in fed_back}
    stacked: dict[str, list[Array]] = {}
    outputs: Arrays = {}
    for step in range(vectors.case.steps):
        now = {k: np.asarray(v[step]) for k, v in vectors.inputs.items() if k not in fed_back}
        outputs = run({**feeds, **now})
        feeds = {name: outputs[source] for name, source in fed_back.items()}
        for name in outputs.keys() - fed_back.values():
            stacked.setdefault(name, []).append(outputs[name])
    final = {name: outputs[name] for name in fed_back.values()}
    return {**final, **{name: np.stack(values) for name, values in stacked.items()}}


def check_parity(
    run: Runner,
    golden: Sequence[GoldenVectors],
    tolerance: Tolerance,
    state: Sequence[StatePair],
    classes: Collection[str] = (),
    answers: Collection[str] | None = None,
    spreads: Mapping[str, float] | None = None,
) -> tuple[OutputParity, ...]:
    """Run every golden case and compare every output.

    Args:
        run: One step: named inputs to named outputs.
        golden: What the source framework answered.
        tolerance: What is allowed.
        state: The outputs that are fed back.
        classes: The outputs whose largest element on the last axis is a class: flips of
            it are counted.
        answers: Those of `classes` that fail where a flip is over `tolerance.flip_margin`;
            all for None.
        spreads: What margins are shares of, by output; those of `golden` for None. Give
            them where `golden` is only some of the cases: see `golden_spreads`.

    Returns:
        One row per output, the worst over all cases.
    """
    shares = golden_spreads(golden) if spreads is None else spreads
    judged = classes if answers is None else answers
    fed_back = {pair.output for pair in state}
    tallies: dict[str, Tally] = {}
    for vectors in golden:
        actual = run_case(run, vectors, state)
        for name, expected in vectors.outputs.items():
            role = Role(name in fed_back, name in classes, name in judged)
            spread = shares.get(name, 0.0)
            tally = tallies.setdefault(name, Tally(name, tolerance, role, spread))
            tally.add(vectors.case.name, actual.get(name), expected)
    return tuple(tally.verdict() for tally in tallies.values())


def failures(outputs: Iterable[OutputParity]) -> list[str]:
    """What failed, one phrase per output; empty when parity holds."""
    return [f"{o.output}: {o.reason}" for o in outputs if not o.passed]


def classes_of(manifest: Manifest) -> tuple[str, ...]:
    """The outputs whose largest element is an answer: the task's, else all that may be."""
    if manifest.task is not None:
        return (manifest.task.output,)
    return class_outputs(manifest.outputs, manifest.state)


def class_outputs(outputs: Sequence[TensorSpec], state: Sequence[StatePair]) -> tuple[str, ...]:
    """The outputs whose largest element may be an answer: float, more than one class."""
    fed_back = {pair.output for pair in state}
    return tuple(
        spec.name
        for spec in outputs
        if spec.name not in fed_back
        and spec.dtype.startswith("float")
        and len(spec.shape) > 1
        and spec.shape[-1] != 1
    )


def answer_outputs(
    outputs: Sequence[TensorSpec], state: Sequence[StatePair], task: Task | None
) -> tuple[str, ...]:
    """The outputs whose flips are judged, not just counted.

    The task's; without a task, scores of a whole sample, (batch, classes). The last axis of
    a larger output may as well be an image's width or an embedding.
    """
    if task is not None:
        return (task.output,)
    shapes = {spec.name: spec.shape for spec in outputs}
    return tuple(name for name in class_outputs(outputs, state) if len(shapes[name]) == 2)
