"""What a report tells: rows, profiles, a comparison, beside what their bundles say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from edgedl.bench.compare import Compared
from edgedl.bench.plan import Row
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import BundleError
from edgedl.runtime.manifest import Manifest, Variant
from edgedl.runtime.protocol import Case, Profile

ROLES = {"a": "A", "again": "A again", "b": "B"}


@dataclass(frozen=True)
class Findings:
    """Everything a report is made of.

    `manifests` are by the bundles' paths, None where a bundle isn't there any more. `roles`
    say of each row what it is in a comparison of two runs; the rows of an `A vs B` run say it
    themselves. `command` repeats the run, `origin` says when it was and where it was read.
    """

    rows: tuple[Row, ...]
    manifests: Mapping[str, Manifest | None]
    profiles: tuple[Profile, ...] = ()
    compared: Compared | None = None
    roles: tuple[str, ...] = ()
    command: str = ""
    origin: str = ""

    def variant(self, case: Case) -> Variant | None:
        """What the case's bundle says of its variant; None for a subject or a lost bundle."""
        manifest = self.manifests.get(case.bundle)
        if manifest is None or case.subject:
            return None
        return {v.name: v for v in manifest.variants}.get(case.variant)

    def role(self, place: int) -> str:
        """`A`, `A again` or `B` of the row at that place; empty where nothing is compared."""
        if self.roles:
            return self.roles[place]
        side = self.rows[place].side
        return "" if side is None else ROLES[side.role]

    @property
    def bundles(self) -> list[str]:
        """The names of the bundles that were measured."""
        cases = [row.case for row in self.rows] or [profile.case for profile in self.profiles]
        return list(dict.fromkeys(Path(case.bundle).name for case in cases))


def read_manifests(cases: Sequence[Case]) -> dict[str, Manifest | None]:
    """What the cases' bundles say; None for one that isn't there, or is no bundle any more."""
    found: dict[str, Manifest | None] = {}
    for bundle in dict.fromkeys(case.bundle for case in cases):
        try:
            found[bundle] = open_bundle(bundle).manifest
        except BundleError:
            found[bundle] = None
    return found


def named_rows(findings: Findings) -> list[Row]:
    """The rows, those of a comparison under names that tell their side."""
    named = []
    for place, row in enumerate(findings.rows):
        role = findings.role(place)
        label = f"{role}: {row.case.variant}" if role else row.case.label
        named.append(structs.replace(row, case=structs.replace(row.case, label=label)))
    return named
