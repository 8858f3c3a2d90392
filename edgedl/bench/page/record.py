"""The raw measurements within a page: the page is the record of its run."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from msgspec import structs

from edgedl.bench.page.markup import Markup, element
from edgedl.bench.plan import Row, encode_rows
from edgedl.bench.profile import encode_profiles
from edgedl.runtime.errors import InputError
from edgedl.runtime.protocol import Profile

MOST_BYTES = 2_000_000
KIND = "application/x-ndjson"
ROWS, PROFILES = "rows", "profiles"


def thin(rows: Sequence[Row], most: int = MOST_BYTES) -> tuple[list[Row], int]:
    """The rows, with only every n-th sample of each launch where all are too many bytes.

    Returns:
        The rows, and n: 1 where every sample is there.
    """
    every = 1
    kept = list(rows)
    longest = max((len(m.samples_ns) for row in rows for m in row.measurements), default=0)
    while every < longest and len(encode_rows(kept)) > most:
        every *= 2
        kept = [_thinned(row, every) for row in rows]
    return kept, every


def _thinned(row: Row, every: int) -> Row:
    measurements = tuple(
        structs.replace(m, samples_ns=m.samples_ns[::every]) for m in row.measurements
    )
    return structs.replace(row, measurements=measurements)


def embed(rows: Sequence[Row], profiles: Sequence[Profile], every: int, runs: int) -> list[Markup]:
    """Rows and profiles as JSON lines in blocks that no browser runs.

    Args:
        rows: One in `every` samples of each launch.
        profiles: All there are.
        every: 1 where every sample is there.
        runs: How many the rows are of.
    """
    blocks = ((ROWS, encode_rows(rows)), (PROFILES, encode_profiles(profiles)))
    return [
        element(
            "script", _lines(content), type=KIND, id=name, data_every=every, data_runs=runs
        )
        for name, content in blocks
        if content
    ]  # fmt: skip


def _lines(content: bytes) -> Markup:
    """Within a script nothing is escaped, so that nothing may look like its end."""
    return Markup("\n" + content.decode().replace("<", "\\u003c"))


def is_page(content: bytes) -> bool:
    """Whether a file is HTML, not JSON lines."""
    return content.lstrip()[:1] == b"<"


def record_of(content: bytes, where: str) -> tuple[bytes, bytes]:
    """The JSON lines of a page: rows and profiles.

    Raises:
        InputError: There are none, some samples were left out, or they are of two runs.
    """
    reader = _Reader()
    reader.feed(content.decode(errors="replace"))
    if not reader.found:
        raise InputError(f"{where} is no page of edgedl bench", "give a file of --json or --html")
    if reader.every != "1":
        raise InputError(
            f"{where} holds only one in {reader.every} samples", "give the file of --json"
        )
    if reader.runs != "1":
        raise InputError(f"{where} holds two runs", "give the files that it was made from")
    rows, profiles = (reader.found.get(name, "").encode() for name in (ROWS, PROFILES))
    return rows, profiles


class _Reader(HTMLParser):
    """Finds the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.every = self.runs = ""
        self._block = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("id") or ""
        if tag == "script" and name in (ROWS, PROFILES):
            self._block = name
            self.every, self.runs = (given.get(f"data-{key}") or "" for key in ("every", "runs"))

    def handle_endtag(self, tag: str) -> None:
        self._block = ""

    def handle_data(self, data: str) -> None:
        if self._block:
            self.found[self._block] = self.found.get(self._block, "") + data
