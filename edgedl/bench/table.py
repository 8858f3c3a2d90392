"""A table of text, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Table:
    """Headers, rows of text, and notes to print below.

    `prose` columns are words, not numbers; the first `keys` columns tell a row from the others.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    keys: int = 1


def width(table: Table) -> int:
    """Columns of a terminal that the table takes, two between cells."""
    lines = (table.headers, *table.rows)
    return sum(max(map(len, cells)) + 2 for cells in zip(*lines, strict=True)) - 2


def split_columns(table: Table, columns: int) -> list[Table]:
    """Tables below each other, each no wider than the columns of a terminal if it can be.

    Every one begins with the columns that tell the rows apart, so that no cell is cut.
    """
    keys = list(range(table.keys))
    parts: list[list[int]] = [keys]
    for place in range(table.keys, len(table.headers)):
        wider = [*parts[-1], place]
        if len(wider) > len(keys) + 1 and width(_columns_of(table, wider)) > columns:
            wider = [*keys, place]
            parts.append(wider)
        parts[-1] = wider
    return [_columns_of(table, part) for part in parts]


def _columns_of(table: Table, places: Sequence[int]) -> Table:
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return replace(table, headers=tuple(table.headers[place] for place in places), rows=rows)


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [table.headers, tuple("---" for _ in table.headers), *table.rows]
    body = "\n".join("| " + " | ".join(map(markdown_text, cells)) + " |" for cells in lines)
    return "\n".join([body, "", *table.notes])


def markdown_text(text: str) -> str:
    """Text on one line that makes no cell, tag or entity of its own."""
    for special, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        text = text.replace(special, shown)
    return " ".join(text.split())
