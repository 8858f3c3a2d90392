"""Contenders and rounds made up for tests of the search."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence

from edgedl.export.candidates import Tried
from edgedl.export.front import Contender, Field
from edgedl.export.manifest import Made
from edgedl.export.race import Lap, Launch, Pace
from edgedl.export.search import Means, conclude, explore
from edgedl.runtime.manifest import Candidate, Quality, Tolerance, Variant

ROUNDS = 8
PACE = Pace(few=3, least=4, most=12, budget_s=1e9)
Verdicts = dict[str, tuple[str, str]]


def medians(micros: float, spread: float = 0.002, seed: int = 0) -> tuple[int, ...]:
    """A few launches' medians around a time, in nanoseconds."""
    rng = random.Random(f"{micros} {seed}")
    return tuple(round(1000 * micros * rng.gauss(1, spread)) for _ in range(ROUNDS))


def contender(
    name: str, micros: float, bytes: int = 100, loss: float = 0.0, spread: float = 0.002
) -> Contender:
    """A contender; all but fp32 are quantised."""
    return Contender(name, name != "fp32", bytes, loss, medians(micros, spread))


def field_of(*contenders: Contender, twin: float = 1.0) -> Field:
    """A field; the baseline's twin takes a multiple of its time."""
    baseline = next(c for c in contenders if c.name == "fp32")
    again = tuple(None if ns is None else round(ns * twin) for ns in baseline.medians)
    return Field(contenders, "fp32", again)


def tried(name: str, bytes: int = 100, drop: float = 0.0, quantised: bool | None = None) -> Tried:
    """A recipe that was made and holds its budget."""
    quality = Quality("accuracy", 0.9 - drop / 100, 0.9, 0.99, 10_000, round(100 * drop), 0)
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    variant = Variant(name, "m.onnx", sha256, bytes, name, Tolerance(atol=1), 17, 8, "1.12", {})
    known = Candidate(name, "not finished", "", bytes, quality, 40.0)
    return Tried(known, name != "fp32" if quantised is None else quantised, Made(variant, b""))


def machine(
    micros: Mapping[str, float],
    ran: list[str],
    breaks: Mapping[str, str] | None = None,
    spread: float = 0.002,
) -> Callable[[Sequence[Made]], Launch]:
    """A device on which every variant takes its time; some break; remembers what it ran."""
    rng = random.Random(0)

    def stage(made: Sequence[Made]) -> Launch:
        there = {m.variant.name for m in made}

        def launch(names: Sequence[str], least_s: float, number: int) -> Lap:
            ran.extend(names)
            asked = [name.removesuffix(" again") for name in names]
            assert there >= set(asked)
            failed = {name: (breaks or {})[name] for name in names if name in (breaks or {})}
            weather = rng.uniform(1, 2)
            times = {
                name: round(1000 * micros[own] * weather * rng.gauss(1, spread))
                for name, own in zip(names, asked, strict=True)
                if name not in failed
            }
            return Lap(times, failed)

        return launch

    return stage


def run(
    made: Mapping[str, Tried],
    micros: Mapping[str, float],
    ran: list[str] | None = None,
    breaks: Mapping[str, str] | None = None,
    spread: float = 0.002,
    pace: Pace = PACE,
    clock: Callable[[], float] = lambda: 0.0,
) -> tuple[Candidate, ...]:
    """The candidates as they end, of recipes that made these."""
    stage = machine(micros, [] if ran is None else ran, breaks, spread)
    return conclude(explore(list(made), Means(made.__getitem__, stage, pace, clock)))


def verdicts(candidates: tuple[Candidate, ...]) -> Verdicts:
    """How each candidate ended, and why."""
    return {c.recipe: (c.verdict, c.reason) for c in candidates}
