"""edgedl inspect --placement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click
import msgspec

from edgedl.bench.table import Table
from edgedl.cli.terminal import print_table
from edgedl.devices import open_device
from edgedl.runtime.errors import EdgedlError
from edgedl.runtime.protocol import Failure, PlacementAnswer, PlacementRequest, VariantPlacement


def show_placement(
    bundle: str, variants: tuple[str, ...], devices: Sequence[str], as_json: bool
) -> None:
    """Ask each device's worker which node runs where, and print it.

    Raises:
        EdgedlError: The first device that failed; the others are printed.
    """
    answers: list[PlacementAnswer] = []
    failure: EdgedlError | None = None
    for device in devices:
        answer = open_device(device).run(PlacementRequest(bundle, variants, device))
        if isinstance(answer, PlacementAnswer):
            answers.append(answer)
        elif isinstance(answer, Failure):
            failure = failure or answer.error()
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
        cells = tuple((n.name, n.operator, short(n.provider)) for n in row.nodes)
        headers = ("node", "operator", "provider")
        print_table(Table(headers, cells, prose=headers))


def _summary(placed: VariantPlacement) -> str:
    counts = Counter(short(node.provider) for node in placed.nodes)
    return ", ".join(
        f"{count} node{'s' * (count > 1)} on {provider}" for provider, count in counts.most_common()
    )


def short(provider: str) -> str:
    """ONNX Runtime's name of a provider without the words that all share."""
    return provider.removesuffix("ExecutionProvider")
