"""edgedl inspect --placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click
import msgspec

from edgedl.bench.table import Table
from edgedl.cli.terminal import print_table
from edgedl.devices import ask_devices
from edgedl.runtime.protocol import PlacementAnswer, PlacementRequest, VariantPlacement
from edgedl.runtime.providers import short_name


def show_placement(
    bundle: str, variants: tuple[str, ...], devices: Sequence[str], as_json: bool
) -> None:
    """Ask each device's worker which node runs where, and print it.

    Raises:
        EdgedlError: The first device that failed; the others are printed.
    """
    answers, failure = ask_devices(
        devices, lambda device: PlacementRequest(bundle, variants, device), PlacementAnswer
    )
    if as_json:
        click.echo(msgspec.json.encode(answers))
    else:
        _print(answers)
    if failure is not None:
        raise failure


def _print(answers: Sequence[PlacementAnswer]) -> None:
    tables = [
        (f"{row.variant} on {answer.device}: {_summary(row)}", row)
        for answer in answers
        for row in answer.variants
    ]
    for position, (title, row) in enumerate(tables):
        if position:
            click.echo()
        click.echo(title)
        cells = tuple((n.name, n.operator, short_name(n.provider)) for n in row.nodes)
        headers = ("node", "operator", "provider")
        print_table(Table(headers, cells, prose=headers))


def _summary(placed: VariantPlacement) -> str:
    counts = Counter(short_name(node.provider) for node in placed.nodes)
    return ", ".join(
        f"{count} node{'s' * (count > 1)} on {provider}" for provider, count in counts.most_common()
    )
