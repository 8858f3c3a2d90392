"""Whether one case is faster than another: ratio, interval, verdict.

Everywhere it is B that is judged: a ratio is how much of A's time B takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from edgedl.bench.matching import Names, match_cases, name_pairs, no_pairs
from edgedl.bench.plan import Row
from edgedl.bench.stats import Ratio, launches_to_tell, median, paired_ratio, unpaired_ratio
from edgedl.runtime.errors import InputError

Verdict = Literal["faster", "slower", "inconclusive", "invalid"]
TELL = 1.05  # what an inconclusive comparison says the launches for, unless a gate says another


class Comparison(Struct, frozen=True):
    """B beside A. Times are nanoseconds, factors are 1 or more.

    `ratio` is B's time divided by A's. `noise` is what A and A launched again may differ by,
    the farther end of that interval; None where it was not measured. `paired` says that both
    were launched in the same rounds. `reason` is why a verdict is inconclusive or invalid;
    `launches_to_tell` is how many launches of each would tell the factor `tell` apart, from
    the spread that was seen. `cautions` are what else differs between the two.
    """

    case: str
    a: str
    b: str
    verdict: Verdict
    reason: str
    launches: tuple[int, int]
    paired: bool
    tell: float
    a_ns: float | None = None
    b_ns: float | None = None
    ratio: Ratio | None = None
    noise: float | None = None
    launches_to_tell: int | None = None
    same_machine: bool = True
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """Every pair's comparison, and the cases that only one side has."""

    comparisons: tuple[Comparison, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


@dataclass(frozen=True)
class Beside:
    """One row's times over another's; the spread of a round's log ratio, a standard deviation."""

    ratio: Ratio
    spread: float


@dataclass(frozen=True)
class Pair:
    """Two rows to compare, whether they share rounds, and A launched again beside A."""

    names: Names
    a: Row
    b: Row
    paired: bool = False
    noise: Beside | None = None


def compare_run(rows: Sequence[Row], tell: float = TELL) -> Compared:
    """The pairs of an `A vs B` run, round by round.

    Raises:
        InputError: The rows are of no such run.
    """
    sides = [side for side in _by_pair(rows).values() if side.keys() >= {"a", "b"}]
    if not sides:
        raise InputError("these rows are of no A vs B run", "give two files, A.json B.json")
    names = name_pairs([(side["a"].case, side["b"].case) for side in sides])
    return Compared(
        tuple(
            compare_pair(Pair(n, side["a"], side["b"], True, _twin_noise(side)), tell)
            for n, side in zip(names, sides, strict=True)
        )
    )


def compare_runs(
    ours: Sequence[Row], theirs: Sequence[Row], again: Sequence[Row] = (), tell: float = TELL
) -> Compared:
    """The rows of two runs that are of the same case.

    Args:
        ours: A.
        theirs: B.
        again: A measured in a third run: what two runs of equal files differ by. Without it
            the noise is that of A's twin, where A is of an `A vs B` run.
        tell: The factor that `launches_to_tell` is for.

    Raises:
        InputError: No case is in both, or one is in a run twice.
    """
    a, b = _without_twins(ours), _without_twins(theirs)
    matched = match_cases([row.case for row in a], [row.case for row in b])
    if not matched.pairs:
        raise no_pairs(matched)
    names = name_pairs([(a[i].case, b[j].case) for i, j in matched.pairs])
    noises = _noises(ours, a, again)
    return Compared(
        tuple(
            compare_pair(Pair(n, a[i], b[j], False, noises[i]), tell)
            for n, (i, j) in zip(names, matched.pairs, strict=True)
        ),
        matched.only_a,
        matched.only_b,
    )


def _by_pair(rows: Sequence[Row]) -> dict[int, dict[str, Row]]:
    """The rows of an `A vs B` run by pair and role."""
    by: dict[int, dict[str, Row]] = {}
    for row in rows:
        if row.side is not None:
            by.setdefault(row.side.pair, {})[row.side.role] = row
    return by


def _without_twins(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.side is None or row.side.role != "again"]


def _twin_noise(side: dict[str, Row]) -> Beside | None:
    """A's twin beside A, which were launched in the same rounds."""
    again = side.get("again")
    if again is None or why_invalid(again) or why_invalid(side["a"]):
        return None
    return beside(again, side["a"], paired=True)


def _noises(ours: Sequence[Row], a: Sequence[Row], again: Sequence[Row]) -> list[Beside | None]:
    """What each of A's rows may differ by from itself: in another run, else in its own."""
    by = _by_pair(ours)
    noises = [
        _twin_noise(by[row.side.pair]) if row.side is not None and row.side.role == "a" else None
        for row in a
    ]
    repeated = _without_twins(again)
    for i, j in match_cases([r.case for r in a], [r.case for r in repeated]).pairs:
        if not (why_invalid(a[i]) or why_invalid(repeated[j])):
            noises[i] = beside(repeated[j], a[i], paired=False)
    return noises


def compare_pair(pair: Pair, tell: float = TELL) -> Comparison:
    """One pair's verdict.

    B is faster or slower where the ratio's interval leaves out 1 and the ratio is farther
    from 1 than A may be from itself.
    """
    facts: dict[str, Any] = {
        "case": pair.names.shared,
        "a": pair.names.a,
        "b": pair.names.b,
        "launches": (len(pair.a.measurements), len(pair.b.measurements)),
        "paired": pair.paired,
        "tell": tell,
    }
    for name, row in ((pair.names.a, pair.a), (pair.names.b, pair.b)):
        if reason := why_invalid(row):
            return Comparison(verdict="invalid", reason=f"{name}: {reason}", **facts)
    found = beside(pair.b, pair.a, pair.paired)
    ratio = None if found is None else found.ratio
    noise = None if pair.noise is None else pair.noise.ratio.reach
    verdict, reason = judge(ratio, noise)
    return Comparison(
        verdict=verdict,
        reason=reason,
        a_ns=median([m.samples_ns for m in pair.a.measurements]),
        b_ns=median([m.samples_ns for m in pair.b.measurements]),
        ratio=ratio,
        noise=noise,
        launches_to_tell=None if found is None else _needed(found, pair.noise, tell),
        same_machine=_machine(pair.a) == _machine(pair.b),
        cautions=differences(pair.a, pair.b),
        **facts,
    )


def judge(ratio: Ratio | None, noise: float | None) -> tuple[Verdict, str]:
    """The verdict on B, and why it is inconclusive."""
    if ratio is None:
        return "inconclusive", "an interval needs two launches of each"
    if ratio.verdict == "inconclusive":
        return "inconclusive", "the interval holds 1"
    if noise is not None and ratio.distance <= noise:
        return "inconclusive", f"equal files differ by up to {noise:.2f}"
    return ratio.verdict, ""


def why_invalid(row: Row) -> str:
    """Why a row's timings can't be compared; empty where they can."""
    if row.failure is not None:
        return row.failure.message
    if wrong := row.wrong_answers():
        return f"answers wrongly: {wrong[0]}"
    if row.invalid:
        return row.invalid[0]
    return "" if row.measurements else "there are no launches"


def medians(row: Row) -> list[float]:
    """Every launch's median in nanoseconds, by round."""
    return [float(np.median(m.samples_ns)) for m in row.measurements]


def _rounds(ours: Row, theirs: Row) -> tuple[list[float | None], list[float | None]]:
    """Both rows' medians of every round; None where one had no launch any more."""
    rounds = list(zip_longest(medians(ours), medians(theirs)))
    return [a for a, _ in rounds], [b for _, b in rounds]


def beside(ours: Row, theirs: Row, paired: bool) -> Beside | None:
    """How much of another row's time a row takes; None from fewer than two launches of each."""
    a, b = np.log(medians(ours)), np.log(medians(theirs))
    both = min(a.size, b.size)
    if paired:
        ratio = paired_ratio(*_rounds(ours, theirs))
    else:
        ratio = unpaired_ratio(medians(ours), medians(theirs))
    if ratio is None:
        return None
    variance = (a[:both] - b[:both]).var(ddof=1) if paired else a.var(ddof=1) + b.var(ddof=1)
    return Beside(ratio, float(np.sqrt(variance)))


def _needed(found: Beside, noise: Beside | None, tell: float) -> int:
    """How many launches would tell, by the larger spread of the pair's and the twin's."""
    if noise is None:
        return launches_to_tell(tell, found.spread)
    return launches_to_tell(tell, max(found.spread, noise.spread), beside_twin=True)


def _machine(row: Row) -> tuple[str, str]:
    host = row.measurements[0].host
    return host.machine, host.processor


def differences(ours: Row, theirs: Row) -> tuple[str, ...]:
    """What of the machine, the versions, the settings and the durations differs."""
    a, b = _circumstances(ours), _circumstances(theirs)
    return tuple(
        f"{name}: {a.get(name, 'none')} in A, {b.get(name, 'none')} in B"
        for name in dict.fromkeys((*a, *b))
        if a.get(name) != b.get(name)
    )


def _circumstances(row: Row) -> dict[str, object]:
    first = row.measurements[0]
    host = msgspec.to_builtins(first.host)
    versions = host.pop("versions")
    host["memory"] = f"{host['memory'] / 2**30:.0f} GiB"
    host["features"] = " ".join(host["features"]) or "none"
    settings = {} if first.settings is None else msgspec.to_builtins(first.settings)
    case = row.case
    durations = {"warm-up": f"{case.warmup_s:g} s", "least time": f"{case.least_s:g} s"}
    machine = {"processor": host["processor"], "machine": host["machine"]}
    return {**machine, **host, **versions, **settings, **durations}
