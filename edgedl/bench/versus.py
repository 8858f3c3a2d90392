"""`A vs B` in one run: both sides' cases in the same rounds, and A once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from edgedl.bench.matching import Matched, match_cases, no_pairs
from edgedl.bench.plan import BenchRequest, Row, Side, plan_cases
from edgedl.runtime.protocol import Case


@dataclass(frozen=True)
class Versus:
    """Cases to launch in the same rounds, the side each is on, and what only one side has."""

    cases: tuple[Case, ...]
    sides: tuple[Side, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def rows(self, measured: Sequence[Row]) -> list[Row]:
        """The measured rows with their sides."""
        return [
            structs.replace(row, side=side) for row, side in zip(measured, self.sides, strict=True)
        ]


def plan_versus(request: BenchRequest, against: Sequence[str]) -> Versus:
    """Pairs of cases: the request's bundles, one by one, beside those they are against.

    Raises:
        BundleError: A bundle or variant isn't there.
        InputError: No case is on both sides.
    """
    cases: list[Case] = []
    sides: list[Side] = []
    alone: list[Matched] = []
    for ours, theirs in zip(request.bundles, against, strict=True):
        a = plan_cases(replace(request, bundles=(ours,)))
        b = plan_cases(replace(request, bundles=(theirs,)))
        matched = match_cases(a, b)
        alone.append(matched)
        for i, j in matched.pairs:
            pair = len(cases) // 3
            again = structs.replace(a[i], label=f"{a[i].name} again")
            cases += [a[i], again, b[j]]
            sides += [Side(pair, "a"), Side(pair, "again"), Side(pair, "b")]
    only_a = tuple(name for matched in alone for name in matched.only_a)
    only_b = tuple(name for matched in alone for name in matched.only_b)
    if not cases:
        raise no_pairs(Matched((), only_a, only_b))
    return Versus(tuple(cases), tuple(sides), only_a, only_b)
