"""The head of the page: what was measured, when, where, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.circumstances import circumstances, troubles
from edgedl.bench.findings import Findings
from edgedl.bench.page.markup import Markup, element
from edgedl.bench.plan import Row


def draw_header(findings: Findings, sections: Sequence[tuple[str, str]]) -> Markup:
    """Title, alerts, the circumstances, and links to the sections."""
    links = [element("a", title, href=f"#{name}") for name, title in sections]
    return element(
        "header",
        element("h1", ", ".join(findings.bundles)),
        element("p", findings.origin, class_="origin") if findings.origin else None,
        _alerts(findings.rows),
        _facts(findings),
        element("nav", links, aria_label="Sections") if len(links) > 1 else None,
    )


def _alerts(rows: Sequence[Row]) -> Markup | None:
    """Rows that failed, answered wrongly or can't be trusted: said before any number."""
    said = troubles(rows)
    if not said:
        return None
    lines = element("ul", [element("li", line) for line in said])
    return element("div", element("strong", "Not every row can be used"), lines, class_="alert")


def _facts(findings: Findings) -> Markup:
    drawn = [
        [element("dt", name), element("dd", _lines(said))]
        for name, said in circumstances(findings).items()
    ]
    again = [element("dt", "Again"), element("dd", element("code", findings.command))]
    return element("dl", drawn, again if findings.command else None)


def _lines(said: Sequence[str]) -> list[Markup]:
    return [element("div", line) for line in said]
