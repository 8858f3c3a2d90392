"""Tables of the page, and the parity of each variant."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.page.markup import Child, Markup, element
from edgedl.bench.table import Table


def draw_table(table: Table, caption: str, meters: Sequence[str] = ()) -> Markup:
    """A table that scrolls within itself, numbers on the right, and its notes below.

    Args:
        table: What to show.
        caption: What it is of.
        meters: Columns of percentages to draw behind their numbers.
    """
    left = {0, *(i for i, header in enumerate(table.headers) if header in table.prose)}
    head = [
        element("th", header, scope="col", class_="words" if i in left else None)
        for i, header in enumerate(table.headers)
    ]
    body = [
        element(
            "tr",
            [
                _cell(i, text, i in left, header in meters)
                for i, (header, text) in enumerate(zip(table.headers, row, strict=True))
            ],
        )
        for row in table.rows
    ]
    parts = (element("thead", element("tr", head)), element("tbody", body))
    drawn = element("table", element("caption", caption), parts)
    framed = element("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return element("div", framed, notes(table.notes))


def _cell(place: int, text: str, left: bool, meter: bool) -> Markup:
    kind = "words" if left else None
    if place == 0:
        return element("th", text, scope="row", class_=kind)
    share = text.removesuffix(" %")
    if meter and share.isdigit():
        return element("td", text, class_="meter", style=f"--part:{min(int(share), 100)}%")
    return element("td", text, class_=kind)


def notes(said: Sequence[Child]) -> Markup | None:
    """Lines below a table or a plot."""
    lines = [element("li", line) for line in said]
    return element("ul", lines, class_="notes") if lines else None
