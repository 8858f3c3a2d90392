"""Parity: a model's outputs compared with the source framework's, and the verdict.

The same code judges every stage of an export and, later, a device: it needs only
NumPy and a way to run a step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from edgedl.runtime.decisions import DecisionTally
from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.free_text import Divergence, diverge
from edgedl.runtime.golden import Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner, forced_steps, run_case, run_chunks
from edgedl.runtime.manifest import (
    Decision,
    Manifest,
    OutputParity,
    StatePair,
    Task,
    TensorSpec,
    Tolerance,
)
from edgedl.runtime.tally import Role, Tally


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
    sheets: dict[str, _Sheet] = {}
    decided = {name for v in golden for name in v.scores}
    for name in dict.fromkeys(name for v in golden for name in v.outputs):
        role = Role(name in fed_back, name in classes, name in judged)
        sheets[name] = _Sheet(name, tolerance, role, shares.get(name, 0.0), name in decided)
    for vectors in (v for v in golden if v.case.kind != "text"):
        actual = run_case(run, vectors, state)
        _compare(sheets, vectors, actual)
        _compare_in_parts(sheets, run, vectors, actual, state)
    comparable = not any(sheet.free.problems for sheet in sheets.values())
    for vectors in (v for v in golden if v.case.kind == "text" and comparable):
        text = diverge(run, vectors, state)
        sheets[text.output].text = text
    return tuple(sheet.verdict() for sheet in sheets.values())


@dataclass
class _Sheet:
    """Everything that is known of one output.

    `free` are calls and fed-back steps; `local` the steps that start from the source's own
    state; `chunked` compares a sequence in parts with the model's own whole one.
    """

    name: str
    tolerance: Tolerance
    role: Role
    spread: float
    decides: bool
    text: Divergence | None = None
    free: Tally | DecisionTally = field(init=False)
    local: Tally | DecisionTally = field(init=False)
    chunked: Tally | DecisionTally = field(init=False)

    def __post_init__(self) -> None:
        self.free = self._tally(self.role)
        # One step's state is no more than an output: no earlier step has added to its noise.
        local = Role(False, self.role.classes, self.role.answer)
        self.local = self._tally(local)
        self.chunked = self._tally(local)

    def _tally(self, role: Role) -> Tally | DecisionTally:
        if self.decides:
            return DecisionTally(self.name, self.tolerance, self.spread)
        return Tally(self.name, self.tolerance, role, self.spread)

    def verdict(self) -> OutputParity:
        free, local, chunked = (t.verdict() for t in (self.free, self.local, self.chunked))
        reasons = [
            free.reason,
            local.reason and f"steps from the source's state: {local.reason}",
            chunked.reason and f"a sequence in parts differs from it whole: {chunked.reason}",
            self.text.problem(self.tolerance, self.spread) if self.text else "",
        ]
        reason = "; ".join(filter(None, reasons))
        row = replace(
            free,
            passed=not reason,
            reason=reason,
            local_max_abs=local.max_abs if self.local.cases else None,
            local_sqnr_db=local.sqnr_db,
            chunks_max_abs=chunked.max_abs if self.chunked.cases else None,
        )
        return row if self.text is None else _with_text(row, self.text, self.spread)


def _with_text(row: OutputParity, text: Divergence, spread: float) -> OutputParity:
    margin = text.margin / spread if spread > 0 else 0.0
    at = text.at
    return replace(
        row,
        text_steps=text.steps,
        diverged_at=at,
        diverged_margin=None if at is None else margin,
    )


def _compare(sheets: Mapping[str, _Sheet], vectors: GoldenVectors, actual: Arrays) -> None:
    case = vectors.case
    if case.kind != "forced":
        for name, expected in vectors.outputs.items():
            scores = vectors.scores.get(name)
            sheets[name].free.add(case.name, actual.get(name), expected, scores)
        return
    ours, theirs = (forced_steps(arrays, case.steps) for arrays in (actual, vectors.outputs))
    behind = forced_steps(vectors.scores, case.steps)
    for step, (mine, source) in enumerate(zip(ours, theirs, strict=True)):
        where = f"{case.name}, step {step}"
        for name, expected in source.items():
            sheets[name].local.add(where, mine.get(name), expected, behind[step].get(name))


def _compare_in_parts(
    sheets: Mapping[str, _Sheet],
    run: Runner,
    vectors: GoldenVectors,
    whole: Arrays,
    state: Sequence[StatePair],
) -> None:
    """A sequence in parts beside the model's own answer to it in one call."""
    case = vectors.case
    if case.chunks is None or not whole.keys() >= vectors.outputs.keys():
        return
    in_parts = run_chunks(run, vectors.inputs, case.chunks, state)
    for name in (*(pair.output for pair in state), *case.chunks.outputs):
        scores = vectors.scores.get(name)
        sheets[name].chunked.add(case.name, in_parts.get(name), whole[name], scores)


def failures(outputs: Iterable[OutputParity]) -> list[str]:
    """What failed, one phrase per output; empty when parity holds."""
    return [f"{o.output}: {o.reason}" for o in outputs if not o.passed]


def classes_of(manifest: Manifest) -> tuple[str, ...]:
    """The outputs whose largest element is an answer: the task's, else all that may be."""
    if manifest.task is not None:
        return (manifest.task.output,)
    return class_outputs(manifest.outputs, manifest.state, manifest.decisions)


def class_outputs(
    outputs: Sequence[TensorSpec],
    state: Sequence[StatePair],
    decisions: Sequence[Decision] = (),
) -> tuple[str, ...]:
    """The outputs that may be an answer: classes, or float scores of more than one."""
    decided = {decision.output for decision in decisions}
    others = {pair.output for pair in state} | {decision.values for decision in decisions}
    return tuple(
        spec.name
        for spec in outputs
        if spec.name in decided
        or (
            spec.name not in others
            and spec.dtype.startswith("float")
            and len(spec.shape) > 1
            and spec.shape[-1] != 1
        )
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
