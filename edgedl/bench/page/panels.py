"""Rows in panels: those that do the same work, so that they may be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from edgedl.bench.compare import medians
from edgedl.bench.findings import Findings
from edgedl.bench.plan import Row
from edgedl.bench.stats import Interval, Ratio, median, median_interval, paired_ratio
from edgedl.runtime.manifest import Variant
from edgedl.runtime.protocol import Case

BASELINE = "fp32"
Standing = Literal["valid", "invalid", "wrong", "failed"]


@dataclass(frozen=True)
class Entry:
    """A row of a panel: its name there, its place among all rows, and what it comes to.

    `p50_ns` and `interval` are None where there are no timings; `reason` is why it isn't
    valid. `colour` is the variant's among all, `role` the row's in a comparison. `ratio` is to
    the panel's fp32.
    """

    place: int
    name: str
    row: Row
    variant: Variant | None
    standing: Standing
    reason: str
    colour: int
    role: str = ""
    p50_ns: float | None = None
    interval: Interval | None = None
    ratio: Ratio | None = None

    @property
    def samples(self) -> list[tuple[int, ...]]:
        """Every launch's, in nanoseconds."""
        return [m.samples_ns for m in self.row.measurements]

    @property
    def is_twin(self) -> bool:
        """Whether it is A once more, there to tell the noise."""
        return self.role == "A again"


@dataclass(frozen=True)
class Panel:
    """Rows that do the same work, so that they may be compared; `title` says which."""

    title: str
    entries: tuple[Entry, ...]

    @property
    def timed(self) -> list[Entry]:
        """Those that have timings."""
        return [entry for entry in self.entries if entry.p50_ns is not None]

    @property
    def candidates(self) -> list[Entry]:
        """Those that may be named best: valid, and no twin."""
        return [e for e in self.timed if e.standing == "valid" and not e.is_twin]


def panels(findings: Findings) -> list[Panel]:
    """The rows by the work they do, in order."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(findings.rows):
        groups.setdefault(_work(row, findings.role(place)), []).append(place)
    colours = {name: i for i, name in enumerate(dict.fromkeys(map(_hue, findings.rows)))}
    return [
        Panel(_title(work), tuple(_entries(findings, places, colours)))
        for work, places in groups.items()
    ]


def _hue(row: Row) -> str:
    return row.case.name if row.case.subject else row.case.variant


def _work(row: Row, role: str) -> tuple[str, ...]:
    """What the row does, in words: alike for both sides of a comparison."""
    case = row.case
    pace = case.open_loop
    return (
        "" if role else case.bundle,
        " ".join(f"{axis} {size}" for axis, size in case.sizes.items()),
        "" if case.mode == "model" else f"mode {case.mode}",
        "" if pace is None else f"{pace.rate:g} requests per second, {pace.arrivals}",
        "" if case.sustained_s is None else f"for {case.sustained_s:g} s",
    )


def _title(work: Sequence[str]) -> str:
    name = Path(work[0]).name.removesuffix(".bundle") or "A vs B"
    return ", ".join([name, *filter(None, work[1:])])


def _entries(findings: Findings, places: Sequence[int], colours: Mapping[str, int]) -> list[Entry]:
    rows = [findings.rows[place] for place in places]
    roles = [findings.role(place) for place in places]
    names = _names(rows, roles)
    entries = []
    for place, row, name, role in zip(places, rows, names, roles, strict=True):
        standing, reason = _standing(row)
        variant = findings.variant(row.case)
        entry = Entry(place, name, row, variant, standing, reason, colours[_hue(row)], role)
        entries.append(_timed(entry, rows) if standing in ("valid", "invalid") else entry)
    return entries


def _names(rows: Sequence[Row], roles: Sequence[str]) -> list[str]:
    """What the panel calls its rows: the variant, and the settings that are swept."""
    facts = [_settings(row.case) for row in rows]
    swept = [key for key in facts[0] if len({fact[key] for fact in facts}) > 1]
    bundles = len({row.case.bundle for row in rows}) > 1
    return _told_apart(
        ", ".join(
            [
                " ".join(
                    filter(
                        None,
                        (
                            role and f"{role}:",
                            _bundle(row.case) * bundles,
                            row.case.variant if role else row.case.name,
                        ),
                    )
                ),
                *(fact[key] for key in swept),
            ]
        )
        for row, role, fact in zip(rows, roles, facts, strict=True)
    )


def _told_apart(names: Iterable[str]) -> list[str]:
    """Equal names numbered from the second on: two pairs of an `A vs B` run, or two runs."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return told


def _bundle(case: Case) -> str:
    return Path(case.bundle).name.removesuffix(".bundle")


def _settings(case: Case) -> dict[str, str]:
    threads = "all threads" if case.threads is None else f"{case.threads} thread"
    return {
        "device": case.device,
        "threads": threads + "s" * ((case.threads or 1) > 1),
        "spinning": _switch("spinning", case.spinning),
        "arena": _switch("arena", case.arena),
    }


def _switch(name: str, state: bool | None) -> str:
    return f"{name} {'default' if state is None else 'on' if state else 'off'}"


def _standing(row: Row) -> tuple[Standing, str]:
    if row.failure is not None:
        return "failed", row.failure.message
    if not row.measurements:
        return "failed", "there are no launches"
    if wrong := row.wrong_answers():
        return "wrong", wrong[0]
    return ("invalid", row.invalid[0]) if row.invalid else ("valid", "")


def _timed(entry: Entry, rows: Sequence[Row]) -> Entry:
    launches = entry.samples
    base = None if entry.role else _baseline(entry.row, rows)
    ratio = None if base is None else round_ratio(entry.row, base)
    facts = {"p50_ns": median(launches), "interval": median_interval(launches), "ratio": ratio}
    return Entry(**{**vars(entry), **facts})


def _baseline(row: Row, rows: Sequence[Row]) -> Row | None:
    """The valid fp32 row with the same settings; a comparison has its own ratios."""
    for base in rows:
        same = _settings(base.case) == _settings(row.case) and base.case.bundle == row.case.bundle
        if same and base is not row and base.case.variant == BASELINE and not base.case.subject:
            return base if _standing(base)[0] == "valid" else None
    return None


def round_ratio(ours: Row, theirs: Row) -> Ratio | None:
    """How much of the other's time a row takes, paired by round."""
    rounds = list(zip_longest(medians(ours), medians(theirs)))
    return paired_ratio([a for a, _ in rounds], [b for _, b in rounds])
