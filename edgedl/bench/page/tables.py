"""Tables of the page, and the parity of each variant."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.page.markup import Child, Markup, element
from edgedl.bench.report import Table


def draw_table(table: Table, caption: str) -> Markup:
    """A table that scrolls within itself, numbers on the right, and its notes below."""
    left = {0, *(i for i, header in enumerate(table.headers) if header in table.prose)}
    head = [
        element("th", header, scope="col", class_="words" if i in left else None)
        for i, header in enumerate(table.headers)
    ]
    body = [
        element("tr", [_cell(i, text, i in left) for i, text in enumerate(row)])
        for row in table.rows
    ]
    parts = (element("thead", element("tr", head)), element("tbody", body))
    drawn = element("table", element("caption", caption), parts)
    framed = element("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return element("div", framed, notes(table.notes))


def _cell(place: int, text: str, left: bool) -> Markup:
    kind = "words" if left else None
    if place == 0:
        return element("th", text, scope="row", class_=kind)
    return element("td", text, class_=kind)


def notes(said: Sequence[Child]) -> Markup | None:
    """Lines below a table or a plot."""
    lines = [element("li", line) for line in said]
    return element("ul", lines, class_="notes") if lines else None
