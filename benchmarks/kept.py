"""Results that are kept: as JSON and Markdown, named after the machine they were measured on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgedl.runtime.host import Host

RESULTS = Path(__file__).parent / "results"


def describe(host: Host, versions: Mapping[str, str]) -> str:
    """The machine and the versions of what was measured, in a line."""
    versions_told = ", ".join(f"{k} {v}" for k, v in versions.items())
    return (
        f"{host.processor}, {host.cpus} CPUs, {host.system}, Python {host.python}, {versions_told}"
    )


def keep(
    results: msgspec.Struct,
    host: Host,
    name: str,
    text: str,
    folder: Path,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write NAME-MACHINE.json and .md; the text follows a title line and the machine's.

    The versions are the runtime's, as the host tells them, unless others are given.

    Returns:
        The JSON file.
    """
    words = re.sub(r"\W+", "-", f"{host.machine} {host.processor} {host.cpus}").strip("-")
    file = folder / f"{name}-{words.lower()}.json"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    title, _, body = text.partition("\n")
    file.with_suffix(".md").write_text(
        f"{title}\n\n{describe(host, versions or host.versions)}\n\n{body.strip()}\n"
    )
    return file
