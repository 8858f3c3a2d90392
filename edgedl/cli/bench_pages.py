"""edgedl bench --html and --markdown: a run as a page, measured now or read from files."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl.bench.compare import Compared
from edgedl.bench.findings import Findings, read_manifests
from edgedl.bench.markdown_report import MARK, render_markdown
from edgedl.bench.page import GENERATOR, render
from edgedl.bench.plan import Row
from edgedl.cli.bench_from import origin
from edgedl.cli.result_file import check_writable, write_result
from edgedl.runtime.errors import InputError
from edgedl.runtime.protocol import Profile

HEAD = 4096  # bytes of a file that tell whether it is a page


@dataclass(frozen=True)
class Pages:
    """The files to write."""

    html: str | None = None
    markdown: str | None = None

    def __bool__(self) -> bool:
        return self.html is not None or self.markdown is not None

    def check(self) -> None:
        """Find out now that a file can't be written, or is something else.

        Raises:
            OSError: It can't be written.
            InputError: It is there, and no page.
        """
        for file, mark in ((self.html, GENERATOR), (self.markdown, MARK)):
            if file is None:
                continue
            check_writable(file)
            path = Path(file)
            if path.is_file() and path.stat().st_size and not _begins_with(path, mark):
                raise InputError(
                    f"{file} is there, and edgedl bench didn't write it",
                    "choose another name, or delete it",
                )

    def write(self, findings: Findings) -> None:
        """Write them.

        Raises:
            EdgedlError: One can't be written after all.
        """
        if self.html is not None:
            write_result(self.html, render(findings).encode())
        if self.markdown is not None:
            write_result(self.markdown, render_markdown(findings).encode())


def _begins_with(path: Path, mark: str) -> bool:
    with path.open("rb") as file:
        return mark.encode() in file.read(HEAD)


def measured(
    rows: Sequence[Row], profiles: Sequence[Profile] = (), compared: Compared | None = None
) -> Findings:
    """What this command has measured."""
    return Findings(
        tuple(rows),
        read_manifests([row.case for row in rows]),
        tuple(profiles),
        compared,
        command=shlex.join(["edgedl", *sys.argv[1:]]),
        origin=origin(rows),
    )
