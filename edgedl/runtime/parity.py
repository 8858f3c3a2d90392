"""Parity: outputs compared with the source framework's, and the verdict.

The same code judges every stage of an export and, later, a device: it needs only
NumPy and a way to run a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import Manifest, OutputParity, StatePair, TensorSpec, Tolerance

Runner = Callable[[Arrays], Arrays]

# All cases together hide one that is broken; one alone may be a handful of numbers, whose
# ratio scatters. Each must come within a factor of four of the noise allowed in all.
CASE_MARGIN_DB = 6.0


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
        now = {k: v[step] for k, v in vectors.inputs.items() if k not in fed_back}
        outputs = run({**feeds, **now})
        feeds = {name: outputs[source] for name, source in fed_back.items()}
        for name in outputs.keys() - fed_back.values():
            stacked.setdefault(name, []).append(outputs[name])
    final = {name: outputs[name] for name in fed_back.values()}
    return {**final, **{name: np.stack(values) for name, values in stacked.items()}}


def check_parity(
    run: Runner,
    golden: Iterable[GoldenVectors],
    tolerance: Tolerance,
    state: Sequence[StatePair],
    classes: Sequence[str] = (),
) -> tuple[OutputParity, ...]:
    """Run every golden case and compare every output.

    Args:
        run: One step: named inputs to named outputs.
        golden: What the source framework answered.
        tolerance: What is allowed.
        state: The outputs that are fed back.
        classes: The outputs whose largest element on the last axis is an answer.

    Returns:
        One row per output, the worst over all cases.
    """
    tallies: dict[str, _Tally] = {}
    for vectors in golden:
        actual = run_case(run, vectors, state)
        for name, expected in vectors.outputs.items():
            tally = tallies.setdefault(name, _Tally(name, tolerance, name in classes))
            tally.add(vectors.case.name, actual.get(name), expected)
    fed_back = {pair.output for pair in state}
    return tuple(tally.verdict(name in fed_back) for name, tally in tallies.items())


@dataclass
class _Tally:
    """Running totals over the cases of one output."""

    name: str
    tolerance: Tolerance
    has_classes: bool
    signal: float = 0.0
    noise: float = 0.0
    least_sqnr: float = math.inf
    noisiest_case: str = ""
    dot: float = 0.0
    actual_power: float = 0.0
    max_abs: float = 0.0
    max_rel: float = 0.0
    excess: float = -math.inf
    worst_case: str = ""
    positions: int = 0
    agreeing: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, case: str, actual: Array | None, expected: Array) -> None:
        problem = _structural_problem(actual, expected)
        if problem or actual is None:
            self.problems.append(f"{case}: {problem}")
            self.worst_case = self.worst_case or case
            return
        a, b = actual.astype(np.float64), expected.astype(np.float64)
        finite = np.isfinite(b)
        a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        if self.has_classes and expected.ndim and expected.shape[-1] > 1:
            agree = np.argmax(actual, -1) == np.argmax(expected, -1)
            self.positions += agree.size
            self.agreeing += int(agree.sum())
        if not b.size:
            return
        self._accumulate(case, a, b)

    def _accumulate(self, case: str, a: Array, b: Array) -> None:
        error = np.abs(a - b)
        magnitude = np.abs(b)
        signal, noise = float(np.sum(b * b)), float(np.sum(error * error))
        self.signal += signal
        self.noise += noise
        sqnr = _decibels(signal, noise)
        if sqnr < self.least_sqnr:
            self.least_sqnr, self.noisiest_case = sqnr, case
        self.dot += float(np.sum(a * b))
        self.actual_power += float(np.sum(a * a))
        self.max_abs = max(self.max_abs, float(error.max()))
        relative = np.divide(error, magnitude, out=np.zeros_like(error), where=magnitude > 0)
        self.max_rel = max(self.max_rel, float(relative.max()))
        allowed = (self.tolerance.atol or 0.0) + (self.tolerance.rtol or 0.0) * magnitude
        excess = float((error - allowed).max())
        if excess > self.excess or not self.worst_case:
            self.excess, self.worst_case = excess, case

    def verdict(self, is_state: bool) -> OutputParity:
        sqnr = None if self.noise == 0.0 else _decibels(self.signal, self.noise)
        power = math.sqrt(self.signal * self.actual_power)
        reason = "; ".join(self.problems[:3]) or self._out_of_tolerance(sqnr, is_state)
        return OutputParity(
            output=self.name,
            passed=not reason,
            max_abs=self.max_abs,
            max_rel=self.max_rel,
            worst_case=self.worst_case,
            sqnr_db=sqnr,
            cosine=self.dot / power if power > 0 else None,
            top1=self.agreeing / self.positions if self.positions else None,
            reason=reason,
        )

    def _out_of_tolerance(self, sqnr: float | None, is_state: bool) -> str:
        limit = self.tolerance
        element_wise = limit.atol is not None or limit.rtol is not None
        if element_wise and self.excess > 0:
            return (
                f"max |a-b| {self.max_abs:.3g} in case {self.worst_case} is over "
                f"{limit.atol or 0.0:g} + {limit.rtol or 0.0:g}*|b|"
            )
        # State is no answer: what its noise does is seen in the outputs of later steps.
        if limit.min_sqnr_db is None or sqnr is None or is_state:
            return ""
        if sqnr < limit.min_sqnr_db:
            return f"SQNR {sqnr:.1f} dB is under {limit.min_sqnr_db:g} dB"
        least = limit.min_sqnr_db - CASE_MARGIN_DB
        if self.least_sqnr >= least:
            return ""
        return f"SQNR {self.least_sqnr:.1f} dB in case {self.noisiest_case} is under {least:g} dB"


def _decibels(signal: float, noise: float) -> float:
    return math.inf if noise == 0.0 else 10 * math.log10(signal / noise or 1e-30)


def _structural_problem(actual: Array | None, expected: Array) -> str:
    if actual is None:
        return "the output is missing"
    if actual.shape != expected.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if actual.dtype != expected.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    if np.issubdtype(expected.dtype, np.floating):
        same = (np.isfinite(actual) & np.isfinite(expected)) | (actual == expected)
        same |= np.isnan(actual) & np.isnan(expected)
        if not same.all():
            return f"{int((~same).sum())} values are NaN or infinite on one side only"
    return ""


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
