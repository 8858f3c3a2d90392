"""edgedl bench --from FILE...: what was measured before, shown again without measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl.bench.compare import compare_run
from edgedl.bench.findings import Findings, read_manifests
from edgedl.bench.page.record import is_page, record_of
from edgedl.bench.plan import Row, check_timed, decode_rows
from edgedl.bench.profile import decode_profiles
from edgedl.runtime.errors import InputError
from edgedl.runtime.protocol import Profile

PROFILE = b'"answer":"profile"'


@dataclass(frozen=True)
class Read:
    """What a file holds."""

    rows: tuple[Row, ...] = ()
    profiles: tuple[Profile, ...] = ()


def read_file(file: str) -> Read:
    """Rows and profiles of a file that `--json` or `--html` wrote.

    Raises:
        OSError: It can't be read.
        InputError: It isn't one.
    """
    if Path(file).is_dir():
        raise InputError(
            f"{file} is a directory, not a file of edgedl bench --json",
            "bundles are compared with edgedl bench A.bundle vs B.bundle",
        )
    content = Path(file).read_bytes()
    if is_page(content):
        rows, profiles = record_of(content, file)
    else:
        lines = content.splitlines(keepends=True)
        profiles = b"".join(line for line in lines if line.startswith(b"{" + PROFILE))
        rows = b"".join(line for line in lines if not line.startswith(b"{" + PROFILE))
    if profiles and not rows.strip():
        return Read((), tuple(decode_profiles(profiles, file)))
    measured = decode_rows(rows, file)
    check_timed(measured, file)
    return Read(tuple(measured), tuple(decode_profiles(profiles, file)))


def read_findings(files: Sequence[str]) -> Findings:
    """What files hold, together, beside what the bundles say that they name.

    Raises:
        OSError: One can't be read.
        InputError: One is no file of edgedl bench.
    """
    found = [read_file(file) for file in files]
    rows = tuple(row for read in found for row in read.rows)
    profiles = tuple(profile for read in found for profile in read.profiles)
    sides = {row.side.role for row in rows if row.side}
    return Findings(
        rows,
        read_manifests([*(row.case for row in rows), *(profile.case for profile in profiles)]),
        profiles,
        compare_run(rows) if {"a", "b"} <= sides else None,
        origin=origin(rows, files),
    )


def origin(rows: Sequence[Row], files: Sequence[str] = ()) -> str:
    """When the rows were measured, and what they were read from."""
    when = sorted({row.ended for row in rows if row.ended})
    said = [
        f"measured {' to '.join(map(show_moment, dict.fromkeys(when[:1] + when[-1:])))}"
    ] * bool(when)
    said += [f"read from {', '.join(Path(file).name for file in files)}"] * bool(files)
    text = ", ".join(said)
    return text[:1].upper() + text[1:]


def show_moment(ended: str) -> str:
    """ISO 8601 as a person reads it."""
    return ended.replace("T", " ").replace("+00:00", " UTC")
