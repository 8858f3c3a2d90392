"""HTML and SVG by functions: what is text is escaped, always."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Characters that HTML forbids, and halves of surrogate pairs (undecodable file names).
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
VOID = frozenset(("meta", "link", "br"))


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
Value = str | float | None


def escape(text: str) -> Markup:
    """Any text as markup that shows it."""
    return Markup(html.escape(FORBIDDEN.sub("\ufffd", text)))


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other; plain text is escaped, None is nothing."""
    return Markup("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    return escape(child) if isinstance(child, str) else join(child)


def element(name: str, /, *children: Child, **attributes: Value) -> Markup:
    """An element; `class_` is class, `stroke_width` stroke-width, and None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else show_number(value)


def show_number(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value + 0.0:.1f}".removesuffix(".0")
