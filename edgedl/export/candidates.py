"""Candidates of a search: which recipes and compositions to try, each made and judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgedl.export.errors import ConversionError, RecipeError
from edgedl.export.front import Contender, Field
from edgedl.export.manifest import Made
from edgedl.export.recipes import RECIPES, Material, find_recipe
from edgedl.export.request import AUTO, ExportRequest
from edgedl.export.stages import StageReport, Stopwatch, Tell
from edgedl.export.variants import judge_variant
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.manifest import Candidate, OutputParity

BASELINE = "fp32"


@dataclass(frozen=True)
class Tried:
    """A recipe that was tried: what it made, or why it is out of the race already.

    `known` is what the manifest will say of it; its verdict is `not finished` while it is in
    the race.
    """

    known: Candidate
    quantised: bool
    made: Made | None = None

    @property
    def name(self) -> str:
        """The recipe."""
        return self.known.recipe

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
    obstacle = recipe.obstacle(material)
    if obstacle:
        return _left_out(out(name, "unfit", obstacle), watch, tell)
    try:
        made, verdict = judge_variant(recipe, material, request)
    except (ConversionError, RecipeError, EngineError) as error:
        if name == BASELINE:
            raise
        return _left_out(out(name, "failed", error.message), watch, tell)
    if verdict.disagreement and not recipe.quantised:
        raise ParityError(
            f"parity failed after {name}: {verdict.disagreement}",
            "nothing was written; the source and this model disagree",
        )
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
    tell(StageReport(name, "made", watch.lap(), verdict.outputs, verdict.quality))
    return Tried(known, recipe.quantised, made)


def _left_out(tried: Tried, watch: Stopwatch, tell: Tell) -> Tried:
    said = f"{tried.known.verdict}: {tried.known.reason}"
    tell(StageReport(tried.name, said, watch.lap(), quality=tried.known.quality))
    return tried


def noisiest(outputs: Sequence[OutputParity], state: Collection[str]) -> float | None:
    """The least SQNR in dB of the outputs that are no state; None where all are equal."""
    found = (o.sqnr_db for o in outputs if o.output not in state)
    return min((sqnr for sqnr in found if sqnr is not None), default=None)


def compositions(tried: Sequence[Tried], field: Field) -> tuple[list[str], list[Tried]]:
    """What to try next, and what isn't worth making, with the reason.

    One recipe that leaves float work after it, then a quantising one; both made and within
    the budget by themselves. One that is slower than the baseline drops out: made from
    another model it has the same operators.
    """
    able = {t.name for t in tried if t.runs} & {c.name for c in field.measured}
    known = {t.name for t in tried}
    first = [r.name for r in RECIPES.values() if r.composes and r.name in able]
    second = [r.name for r in RECIPES.values() if r.quantised and not r.composes and r.name in able]
    worthwhile, pruned = [], []
    for name, last in ((f"{a}+{b}", b) for a in first for b in second):
        if name in known:
            continue
        if field.is_slower(field.find(last), field.find(field.baseline)):
            reason = f"{last} is slower than {field.baseline} here"
            pruned.append(out(name, "pruned", reason))
        else:
            worthwhile.append(name)
    return worthwhile, pruned
