"""Candidates of a search: which recipes and compositions to try, each made and judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from edgedl.export.errors import ConversionError, NothingGainedError, RecipeError
from edgedl.export.front import Contender, Field, dominator
from edgedl.export.manifest import Made
from edgedl.export.recipes import RECIPES, Material, Recipe, find_recipe
from edgedl.export.request import AUTO, ExportRequest
from edgedl.export.stages import StageReport, Stopwatch, Tell, disagreement
from edgedl.export.variants import judge_variant
from edgedl.runtime.errors import EngineError
from edgedl.runtime.manifest import Candidate, OutputParity

BASELINE = "fp32"


@dataclass(frozen=True)
class Tried:
    """A recipe that was tried: what it made, or why it is out of the race already.

    `known` is what the manifest will say of it; its verdict is `not finished` while it is in
    the race. `seconds` is what making it took.
    """

    known: Candidate
    quantised: bool
    made: Made | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The recipe."""
        return self.known.recipe

    @property
    def asked(self) -> int:
        """How many candidates its recipe made and judged for it, about."""
        return self.made.asked if self.made is not None else 1

    @property
    def runs(self) -> bool:
        """Whether it is worth measuring."""
        return self.made is not None and self.known.verdict == "not finished"

    def contender(self, medians: tuple[int | None, ...]) -> Contender:
        """It as a contender, with what was measured."""
        return Contender(self.name, self.quantised, self.known.bytes or 0, self._loss, medians)

    @property
    def _loss(self) -> float:
        """Quality lost; a gain on the samples at hand is luck, not merit. Else noise."""
        if self.known.quality is not None:
            return max(0.0, self.known.quality.drop)
        return float("-inf") if self.known.sqnr_db is None else -self.known.sqnr_db


def first_names(request: ExportRequest) -> list[str]:
    """What a search tries first: the baseline, what was named, every recipe of the table."""
    named = (name for name in request.recipes if name != AUTO)
    return list(dict.fromkeys((BASELINE, *named, *RECIPES)))


def out(name: str, verdict: str, reason: str) -> Tried:
    """A recipe that isn't tried, or didn't get far."""
    quantised = find_recipe(name).quantised
    return Tried(Candidate(name, verdict, reason), quantised)  # type: ignore[arg-type]


def attempt(name: str, material: Material, request: ExportRequest, tell: Tell) -> Tried:
    """Make a recipe's variant and judge it.

    Raises:
        ParityError: A float model left its tolerance: that is no matter of choice.
        EdgedlError: The baseline could not be made.
    """
    watch = Stopwatch()
    recipe = find_recipe(name)
    try:
        made, verdict = judge_variant(recipe, material, request)
    except NothingGainedError as error:
        return _left_out(out(name, "unfit", error.message), watch, tell)
    except (ConversionError, RecipeError, EngineError) as error:
        if name == BASELINE:
            raise
        return _left_out(out(name, "failed", error.message), watch, tell)
    if verdict.disagreement and not recipe.quantised:
        raise disagreement(name, verdict.disagreement)
    reason = verdict.disagreement or verdict.exceeded
    known = Candidate(
        name,
        "over budget" if reason else "not finished",
        reason,
        made.variant.bytes,
        verdict.quality,
        noisiest(verdict.outputs, {p.output for p in material.judgement.interface.state}),
    )
    if reason:
        return _left_out(Tried(known, recipe.quantised), watch, tell)
    seconds = watch.lap()
    tell(StageReport(name, "made", seconds, verdict.outputs, verdict.quality))
    return Tried(known, recipe.quantised, made, seconds)


def _left_out(tried: Tried, watch: Stopwatch, tell: Tell) -> Tried:
    said = f"{tried.known.verdict}: {tried.known.reason}"
    tell(StageReport(tried.name, said, watch.lap(), quality=tried.known.quality))
    return tried


def noisiest(outputs: Sequence[OutputParity], state: Collection[str]) -> float | None:
    """The least SQNR in dB of the outputs that are no state; None where all are equal."""
    found = (o.sqnr_db for o in outputs if o.output not in state)
    return min((sqnr for sqnr in found if sqnr is not None), default=None)


def without_twins(tried: Sequence[Tried]) -> list[Tried]:
    """The same, but of equal files only the first one runs."""
    first: dict[str, str] = {}
    kept = []
    for one in tried:
        if one.made is not None and one.runs:
            twin = first.setdefault(one.made.variant.sha256, one.name)
            if twin != one.name:
                one = _skipped(one.name, f"the same file as {twin}")
        kept.append(one)
    return kept


def compositions(
    tried: Sequence[Tried], field: Field, most_s: float
) -> tuple[list[str], list[Tried]]:
    """What to try next, and what isn't worth making, with the reason.

    One or two recipes that leave float work after them, then a quantising one, or none after
    two; each made and within the budget by itself.

    Args:
        tried: What was made.
        field: What was measured.
        most_s: How long making one may take; the first recipe makes the second anew for each
            of the candidates that it asks about.
    """
    able = {t.name: t for t in tried if t.runs and t.name in {c.name for c in field.measured}}
    table = [r for r in RECIPES.values() if r.quantised and r.name in able]
    last = [r.name for r in table if not r.composes]
    drawbacks = {second: _drawback(second, last, field) for second in last}
    known = {t.name for t in tried}
    worthwhile, skipped = [], []
    for first, asked, seconds in _beginnings([r for r in table if r.composes], able):
        pair = "+" in first
        for second in (*last, "") if pair else last:
            name = f"{first}+{second}" if second else first
            reason = drawbacks.get(second, "")
            if name in known or (pair and reason):  # the reason is told once already
                continue
            takes = seconds + asked * able[second].seconds if second else seconds
            if not reason and takes > most_s:
                reason = f"would take about {takes:.0f} s to make"
            if reason:
                skipped.append(_skipped(name, reason))
            else:
                worthwhile.append(name)
    return worthwhile, skipped


def _beginnings(
    composing: Sequence[Recipe], able: Mapping[str, Tried]
) -> list[tuple[str, int, float]]:
    """What a composition may begin with, how often it makes what follows, and its seconds, about.

    Two in the table's order; of several kinds of one thing, which fit alike, the first kind.
    """
    alone = [(r.name, able[r.name].asked, able[r.name].seconds) for r in composing]
    kinds = {r.obstacle: r for r in reversed(composing)}
    pairs = [
        (f"{a.name}+{b.name}", one.asked * two.asked, one.seconds + one.asked * two.seconds)
        for a, b in combinations(composing, 2)
        if kinds[a.obstacle] is a and kinds[b.obstacle] is b
        for one, two in [(able[a.name], able[b.name])]
    ]
    return [*alone, *pairs]


def _drawback(name: str, others: Sequence[str], field: Field) -> str:
    """Why nothing is to be had from quantising another model in this way; empty if it may be.

    Made from another model, a recipe has the same operators.
    """
    contender, baseline = field.find(name), field.find(field.baseline)
    if field.is_slower(contender, baseline):
        return f"{name} is slower than {baseline.name} here"
    # Of those as fast, a few bytes or samples say little of what they make of another model.
    faster = [c for c in field.contenders if c.name in others and field.is_slower(contender, c)]
    better = dominator(contender, replace(field, contenders=[baseline, *faster]))
    return f"{better.name} is better than {name} here" if better else ""


def _skipped(name: str, reason: str) -> Tried:
    return out(name, "skipped", reason)
