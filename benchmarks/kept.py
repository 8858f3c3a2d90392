"""Results that are kept: as JSON and Markdown, named after the machine they were measured on."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from edgedl.runtime.host import Host

RESULTS = Path(__file__).parent / "results"


def describe(host: Host) -> str:
    """The machine and its versions, in a line."""
    versions = ", ".join(f"{k} {v}" for k, v in host.versions.items())
    return f"{host.processor}, {host.cpus} CPUs, {host.system}, Python {host.python}, {versions}"


def keep(results: msgspec.Struct, host: Host, name: str, text: str, folder: Path) -> Path:
    """Write NAME-MACHINE.json and .md; the text follows a title line and the machine's.

    Returns:
        The JSON file.
    """
    words = re.sub(r"\W+", "-", f"{host.machine} {host.processor} {host.cpus}").strip("-")
    file = folder / f"{name}-{words.lower()}.json"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    title, _, body = text.partition("\n")
    file.with_suffix(".md").write_text(f"{title}\n\n{describe(host)}\n\n{body.strip()}\n")
    return file
