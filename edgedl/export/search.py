"""The search: candidates made, measured on the device, and one of them the winner."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from msgspec import structs

from edgedl.bench.plan import Row, run_cases
from edgedl.export import manifest
from edgedl.export.candidates import (
    BASELINE,
    Tried,
    attempt,
    compositions,
    first_names,
    out,
    without_twins,
)
from edgedl.export.errors import RecipeError
from edgedl.export.front import Contender, Field, bar, dominator, fastest, winner
from edgedl.export.manifest import Made
from edgedl.export.race import Lap, Launch, Pace, Race, Track, unsettled
from edgedl.export.recipes import Material
from edgedl.export.request import ExportRequest
from edgedl.export.stages import StageReport, Stopwatch, Tell
from edgedl.export.study import Study
from edgedl.export.variants import LeftOut
from edgedl.runtime.errors import ParityError
from edgedl.runtime.health_verdict import kinds
from edgedl.runtime.manifest import Candidate, Search
from edgedl.runtime.paired import shortage
from edgedl.runtime.protocol import Case

AGAIN = f"{BASELINE} again"

# Told what is being done, often; for a line that shows that work goes on.
Now = Callable[[str], None]


@dataclass(frozen=True)
class Means:
    """What a search works with; other functions in a test.

    `make` makes and judges a recipe's variant; `stage` takes all variants to where they are
    launched from; `clock` is in seconds.
    """

    make: Callable[[str], Tried]
    stage: Callable[[Sequence[Made]], Launch]
    pace: Pace
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Findings:
    """Everything that was tried, and every round that was run."""

    tried: tuple[Tried, ...]
    track: Track = field(repr=False)

    @property
    def line_up(self) -> Field:
        """The contenders: made, within the budget, and never failing."""
        return line_up(self.tried, self.track)


def search(
    material: Material, request: ExportRequest, study: Study, tell: Tell, now: Now
) -> tuple[list[Made], Search]:
    """Find the recipe: see `explore`.

    Returns:
        The variants on the Pareto front, the winner first; and the evidence.

    Raises:
        EdgedlError: The device failed, or the float model.
    """
    watch = Stopwatch()
    target = material.target
    if target.host is None:
        raise RecipeError("a search needs a device to measure on", "name it with --device")

    def make(name: str) -> Tried:
        now(f"making {name}")
        return attempt(name, material, request, tell)

    def stage(made: Sequence[Made]) -> Launch:
        place = replace(request, output=material.scratch / "search.bundle", force=True)
        return launcher(manifest.write(place, study, made, {}).path, target.device, now)

    findings = explore(first_names(request), Means(make, stage, request.pace))
    found = Search(
        device=target.device,
        host=target.host,
        max_drop=request.max_drop,
        baseline=BASELINE,
        again_ns=findings.track.medians(AGAIN),
        candidates=conclude(findings),
        seconds=watch.lap(),
        notes=notes(findings, request.max_drop),
    )
    rounds = len(findings.track.laps)
    said = f"{found.winner.recipe} is the best after {rounds} rounds on {target.device}"
    tell(StageReport("search", said, found.seconds))
    return kept(findings.tried, found), found


def launcher(bundle: Path, device: str, now: Now) -> Launch:
    """Launches of a bundle's variants by the worker, at batch 1 and one step.

    Raises (when called):
        EdgedlError: The baseline can't be measured: the device failed.
        ParityError: The baseline answers wrongly there.
    """

    def launch(names: Sequence[str], least_s: float, number: int) -> Lap:
        cases = [
            Case(
                bundle=str(bundle),
                variant=BASELINE if name == AGAIN else name,
                device=device,
                label=name,
                warmup_s=0.05,
                least_s=least_s,
                least_count=11,  # what a median needs; see bench.stats.least_samples
                most_s=5.0,
            )
            for name in names
        ]
        rows = run_cases(
            cases, 1, number, lambda case: now(f"round {number + 1} on {device}: {case.name}")
        )
        return read_lap(rows, device)

    return launch


def read_lap(rows: Sequence[Row], device: str) -> Lap:
    """A round's rows as medians, and as reasons where there is none or it can't be trusted."""
    medians, failed = {}, {}
    invalid = {row.case.name: row.invalid for row in rows if row.invalid}
    for row in rows:
        name, wrong = row.case.name, row.wrong_answers()
        if row.failure is not None:
            if name in (BASELINE, AGAIN):
                raise row.failure.error(f"{device} can't measure {name}: ")
            failed[name] = f"on {device}: {row.failure.message}"
        elif wrong:
            if name in (BASELINE, AGAIN):
                raise ParityError(f"{name} answers wrongly on {device}: {wrong[0]}")
            failed[name] = f"answers wrongly on {device}: {wrong[0]}"
        else:
            medians[name] = int(np.median(row.measurements[0].samples_ns))
    return Lap(medians, failed, invalid)


def explore(names: Sequence[str], means: Means) -> Findings:
    """Make all, race them, compose those worth it, race again.

    Args:
        names: The recipes to begin with, the baseline first.
        means: How.
    """
    start = means.clock()
    budget_s = means.pace.budget_s

    def seconds() -> float:
        return means.clock() - start

    def race(tried: Sequence[Tried]) -> Race:
        launch = means.stage([t.made for t in tried if t.made is not None])
        return Race(means.pace, launch, seconds, (BASELINE, AGAIN))

    def make(names: Sequence[str], until_s: float) -> list[Tried]:
        return [
            means.make(name)
            if name == BASELINE or seconds() < until_s
            else out(name, "not finished", "no time was left to make it")
            for name in names
        ]

    tried = without_twins(make(names, budget_s / 2))
    heats = race(tried)
    track = heats.heats([t.name for t in tried if t.runs], Track())
    further, skipped = compositions(tried, line_up(tried, track), budget_s / 8)
    count = len(tried)
    tried = without_twins([*tried, *make(further, budget_s * 3 / 4), *skipped])
    composed = [t.name for t in tried[count:] if t.runs]
    if composed:
        heats = race(tried)
        track = heats.heats(composed, track)
    track = heats.finals(lambda track: line_up(tried, track), track)
    return Findings(tuple(tried), track)


def line_up(tried: Sequence[Tried], track: Track) -> Field:
    """The contenders so far."""
    failed = track.failed
    contenders = [t.contender(track.medians(t.name)) for t in tried if t.runs]
    return Field([c for c in contenders if c.name not in failed], BASELINE, track.medians(AGAIN))


def conclude(findings: Findings) -> tuple[Candidate, ...]:
    """Every candidate with its verdict, the reason and what was measured."""
    field = findings.line_up
    contenders = {c.name: c for c in field.contenders}
    failed = findings.track.failed
    candidates = []
    for tried in findings.tried:
        known, contender = tried.known, contenders.get(tried.name)
        if tried.name in failed:
            known = structs.replace(known, verdict="failed", reason=failed[tried.name])
        elif contender is not None:
            verdict, reason = _verdict(contender, field)
            known = structs.replace(known, verdict=verdict, reason=reason)
        medians = findings.track.medians(tried.name) if tried.runs else ()
        candidates.append(structs.replace(known, medians_ns=medians))
    return tuple(candidates)


def _verdict(contender: Contender, field: Field) -> tuple[str, str]:
    best = winner(field)
    if contender is best:
        return "winner", _why(best, field)
    if contender not in field.measured:
        return "not finished", "no time was left to measure it"
    barred = bar(contender, field)
    better = dominator(contender, field)
    if better is None:
        reasons = [barred, _merits(contender, best, field)]
        return "front", "; ".join(r for r in reasons if r)
    merits = _merits(better, contender, field)
    return "dominated", "; ".join(r for r in (barred, f"{better.name} is {merits}") if r)


def _why(best: Contender, field: Field) -> str:
    first = fastest(field)
    if best is first:
        return "the fastest within the budget"
    return f"no slower than {first.name} in this noise, and {_merits(best, first, field)}"


def _merits(ours: Contender, theirs: Contender, field: Field) -> str:
    """In what one is better than the other."""
    found = {
        "faster": field.is_slower(theirs, ours),
        "smaller": ours.bytes < theirs.bytes,
        "closer to the source": ours.loss < theirs.loss,
    }
    said = ", ".join(merit for merit, holds in found.items() if holds)
    return said or f"not told apart from {theirs.name}"


def kept(tried: Sequence[Tried], found: Search) -> list[Made]:
    """The variants that the bundle keeps: the winner, then the rest of the front."""
    made = {t.name: t.made for t in tried if t.made is not None}
    names = [c.recipe for c in found.candidates if c.verdict == "front"]
    return [made[name] for name in (found.winner.recipe, *names)]


def rejections(found: Search) -> list[LeftOut]:
    """The recipes that were left out, as `make_variants` lists them."""
    return [
        LeftOut(c.recipe, c.verdict != "unfit", c.reason)
        for c in found.candidates
        if c.verdict in ("unfit", "failed", "over budget")
    ]


def notes(findings: Findings, max_drop: float) -> tuple[str, ...]:
    """What a reader of the evidence must know."""
    qualities = [t.known.quality for t in findings.tried if t.quantised]
    short = {shortage(quality, max_drop) for quality in qualities}
    short |= {
        f"no labels: judged by the top-1 agreement of {q.samples} samples; --eval tells more"
        for q in qualities
        if q is not None and q.metric == "agreement"
    }
    open_ends = unsettled(findings.line_up)
    told = f"not told apart in {len(findings.track.laps)} rounds: {', '.join(open_ends)}"
    said = (*sorted(short), told if open_ends else "", _invalid_launches(findings.track.laps))
    return tuple(note for note in said if note)


def _invalid_launches(laps: Sequence[Lap]) -> str:
    """Launches whose machine throttled, say: their times count, and may have decided."""
    invalid = [(name, reasons) for lap in laps for name, reasons in lap.invalid.items()]
    if not invalid:
        return ""
    names = ", ".join(dict.fromkeys(name for name, _ in invalid))
    faults = ", ".join(kinds([reason for _, reasons in invalid for reason in reasons]))
    of = sum(len(lap.medians) for lap in laps)
    return f"{len(invalid)} of {of} launches were invalid ({faults}): {names}; see docs/bench.md"
