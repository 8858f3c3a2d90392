"""edgedl parity --locate: the nodes of a variant beside another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from rich.markup import escape

from edgedl.bench.table import Table
from edgedl.cli.terminal import print_table
from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    from edgedl.export.locate import Located, NodeError

HEADERS = ("node", "operator", "local SQNR", "accumulated SQNR", "")


def show_located(path: str, variants: tuple[str, ...], against: str, as_json: bool) -> None:
    """Locate each variant's error against another variant, and print it.

    Raises:
        BundleError: There is no such variant, or nothing to compare it with.
        MissingExtraError: The export's packages aren't installed.
    """
    bundle = open_bundle(path)
    reference = bundle.manifest.variant(against).name
    names = variants or tuple(v.name for v in bundle.manifest.variants if v.name != reference)
    if not names or reference in names:
        raise BundleError(
            f"there is no other variant to compare {reference!r} with"
            if not names
            else f"{reference!r} is compared with itself",
            "name two: --variant V --against V",
        )
    located = {name: _locate(bundle, name, reference) for name in names}
    if as_json:
        click.echo(msgspec.json.encode({"against": reference, "variants": located}))
        return
    for name, found in located.items():
        print_table(_table(name, reference, found))


def _locate(bundle: Bundle, name: str, against: str) -> Located:
    try:
        from edgedl.export.locate import locate_variant
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name}", "convert") from error
    return locate_variant(bundle, name, against)


def _table(name: str, against: str, located: Located) -> Table:
    """Every node that makes or passes on an error; those without are counted."""
    shown = [n for n in located.nodes if n.problem or n.accumulated_db or n.local_db]
    rows = tuple(_row(n, n == located.first, located.alone) for n in shown)
    equal = len(located.nodes) - len(shown)
    notes = (
        f"{name} against {against}: {located}",
        f"{equal} tensors without an error are left out; {located.unmatched} nodes have no "
        "counterpart and are judged with the next that has one",
        f"one golden call, state as given; a node breaks under {located.threshold_db:g} dB",
    )
    return Table(HEADERS, rows, notes)


def _row(node: NodeError, first: bool, alone: bool) -> tuple[str, ...]:
    mark = "" if not first else "breaks" if alone else "too much here"
    local = "unknown" if node.unrun else _decibels(node.local_db)
    cells = (node.node, node.operator, local, _decibels(node.accumulated_db))
    return (*(escape(cell) for cell in cells), escape(node.problem or mark))


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"
