"""Which cases of two sides belong together, and what they are called beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import structs

from edgedl.runtime.errors import InputError
from edgedl.runtime.protocol import Case, OpenLoop

# How long is measured, and what an answer is held to, doesn't make another case.
NOT_TOLD_APART = (
    "bundle", "variant", "device", "label", "subject", "subject_args", "tolerance", "sizes",
    "warmup_s", "least_s", "least_count", "most_s",
)  # fmt: skip

Facts = dict[str, str]


@dataclass(frozen=True)
class Matched:
    """Pairs of places on either side, and the names of the cases that only one side has."""

    pairs: tuple[tuple[int, int], ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """What both of a pair are, and what tells them apart: `A` and `B` where nothing does."""

    shared: str
    a: str
    b: str


def match_cases(ours: Sequence[Case], theirs: Sequence[Case]) -> Matched:
    """Pair cases that are alike in everything but what tells the two sides apart.

    A field that has one value on either side, but another one, tells the sides apart: a
    variant of one against a variant of the other, one thread against four. Every other field
    has to be equal.

    Raises:
        InputError: Two cases of a side are the same.
    """
    a, b = [_facts(case) for case in ours], [_facts(case) for case in theirs]
    fields = list(dict.fromkeys(field for facts in (*a, *b) for field in facts))
    same = [field for field in fields if not _tells_apart(field, a, b)]
    places_a, places_b = _places(a, same, "A"), _places(b, same, "B")
    return Matched(
        tuple((i, places_b[key]) for key, i in places_a.items() if key in places_b),
        tuple(_name(a[i], fields) for key, i in places_a.items() if key not in places_b),
        tuple(_name(b[j], fields) for key, j in places_b.items() if key not in places_a),
    )


def name_pairs(pairs: Sequence[tuple[Case, Case]]) -> list[Names]:
    """Names for pairs of one table: a field that is the same everywhere is left out."""
    facts = [(_facts(a), _facts(b)) for a, b in pairs]
    fields = list(dict.fromkeys(field for pair in facts for x in pair for field in x))
    swept = [f for f in fields if len({x.get(f) for pair in facts for x in pair}) > 1]
    names = []
    for a, b in facts:
        apart = [field for field in fields if a.get(field) != b.get(field)]
        shown = [f for f in fields if f not in apart and (f in swept or f in ("bundle", "case"))]
        names.append(Names(_name(a, shown), _name(a, apart) or "A", _name(b, apart) or "B"))
    return names


def _tells_apart(field: str, a: Sequence[Facts], b: Sequence[Facts]) -> bool:
    ours, theirs = {x.get(field) for x in a}, {x.get(field) for x in b}
    return len(ours) == len(theirs) == 1 and ours != theirs


def _places(side: Sequence[Facts], fields: Sequence[str], name: str) -> dict[tuple[str, ...], int]:
    """Every case's place by its facts."""
    places: dict[tuple[str, ...], int] = {}
    for place, facts in enumerate(side):
        key = tuple(facts.get(field, "") for field in fields)
        if key in places:
            raise InputError(
                f"{name} has {_name(facts, list(facts))} twice",
                "keep the rows of one run in a file",
            )
        places[key] = place
    return places


def _facts(case: Case) -> Facts:
    """What a case is, field by field; a size that isn't given or a field left alone has none."""
    facts = {"bundle": Path(case.bundle).name, "case": case.name, "device": case.device}
    for field in structs.fields(case):
        value = getattr(case, field.name)
        if field.name not in NOT_TOLD_APART and value != field.default:
            facts |= _parts(field.name, value)
    return {**facts, **{axis: str(size) for axis, size in case.sizes.items()}}


def _parts(name: str, value: object) -> Facts:
    """A field by its name; a loop by its own fields, those that were left alone left out."""
    if not isinstance(value, OpenLoop):
        return {name: str(msgspec.to_builtins(value))}
    chosen = [f.name for f in structs.fields(value) if getattr(value, f.name) != f.default]
    return {part: str(getattr(value, part)) for part in chosen}


def _name(facts: Facts, fields: Sequence[str]) -> str:
    return " ".join(_word(field, facts.get(field, "default")) for field in fields)


def _word(field: str, value: str) -> str:
    if field == "bundle":
        return value.removesuffix(".bundle")
    return value if field in ("case", "device") else f"{field} {value}"


def no_pairs(matched: Matched) -> InputError:
    """The error of two sides without a case in common."""
    a, b = ", ".join(matched.only_a) or "nothing", ", ".join(matched.only_b) or "nothing"
    return InputError(
        f"no case is on both sides: A has {a}; B has {b}",
        "name a variant of each: A.bundle:fp32 vs B.bundle:int8-dynamic",
    )
