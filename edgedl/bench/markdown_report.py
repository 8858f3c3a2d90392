"""A whole run as Markdown: for a pull request, or a CI job's summary."""

from __future__ import annotations

from collections.abc import Iterator

from edgedl.bench.circumstances import circumstances, troubles
from edgedl.bench.comparison_table import sentence, tabulate_comparisons
from edgedl.bench.drift import tabulate_course
from edgedl.bench.findings import Findings, named_rows
from edgedl.bench.parity_table import parity_table
from edgedl.bench.phases import tabulate_phases
from edgedl.bench.profile import by_node, by_operator, title
from edgedl.bench.report import tabulate
from edgedl.bench.table import Table, markdown, markdown_text

MARK = "<!-- edgedl bench -->"


def render_markdown(findings: Findings) -> str:
    """Everything the page has but the plots and the samples."""
    parts = [MARK, f"# {markdown_text(', '.join(findings.bundles))}", *_head(findings)]
    for heading, table in _tables(findings):
        parts += [f"## {markdown_text(heading)}", _listed(table)]
    return "\n\n".join(parts) + "\n"


def _head(findings: Findings) -> Iterator[str]:
    if findings.origin:
        yield markdown_text(findings.origin)
    if wrong := troubles(findings.rows):
        yield "\n".join(
            ["**Not every row can be used**", "", *(f"- {markdown_text(w)}" for w in wrong)]
        )
    said = circumstances(findings)
    yield "\n".join(f"- {name}: {markdown_text('; '.join(lines))}" for name, lines in said.items())
    if findings.command:
        yield f"```sh\n{findings.command}\n```"
    if findings.compared is not None:
        yield "\n".join(
            f"- **{markdown_text(sentence(c))}**" for c in findings.compared.comparisons
        )


def _tables(findings: Findings) -> Iterator[tuple[str, Table]]:
    if findings.compared is not None:
        yield "A against B", tabulate_comparisons(findings.compared)
    if rows := named_rows(findings):
        yield "Timings", tabulate(rows)
        if any(row.case.sustained_s for row in rows):
            yield "With time", tabulate_course(rows)
        yield "Phases", tabulate_phases(rows)
    for profile in findings.profiles:
        yield f"{title(profile)}: operators", by_operator(profile)
        yield f"{title(profile)}: nodes", by_node(profile)
    parity = parity_table(findings)
    if parity.rows or parity.notes:
        yield "Parity", parity


def _listed(table: Table) -> str:
    """The table, its notes as a list."""
    bare = markdown(Table(table.headers, table.rows, (), table.prose)).rstrip()
    return "\n".join([bare, "", *(f"- {markdown_text(note)}" for note in table.notes)]).rstrip()
