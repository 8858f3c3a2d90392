"""edgedl parity."""

from __future__ import annotations

import click
import msgspec

from edgedl.bench.qualities import show_quality, show_top1
from edgedl.bench.table import Table
from edgedl.bench.verdicts import show_flips, show_noise, show_sequences
from edgedl.cli.locate import show_located
from edgedl.cli.options import bundle_argument, device_option, json_flag, variant_option
from edgedl.cli.terminal import print_table
from edgedl.devices import ask_devices
from edgedl.runtime.errors import ParityError
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.protocol import ParityAnswer, ParityRequest, VariantParity

AGAINST = "fp32"


@click.command()
@bundle_argument
@variant_option
@device_option
@json_flag
@click.option(
    "--locate", is_flag=True, help="Show where a variant leaves another: node by node, on this CPU."
)
@click.option("--against", show_default=AGAINST, metavar="V", help="For --locate: the other one.")
def command(
    bundle: str,
    variants: tuple[str, ...],
    devices: tuple[str, ...],
    as_json: bool,
    locate: bool,
    against: str | None,
) -> None:
    """Prove that a bundle answers what its source framework answered.

    Every file's hash is verified, then each variant runs the golden vectors, and the
    labelled samples where the bundle has some, in a fresh process on the device. Exit
    code 1: a file is missing or damaged; 3: a variant left its tolerance or budget.

    With --locate nothing is judged: variants are compared with another one node by node,
    each node's own error beside the accumulated one, and the first that breaks is named. It
    needs the export's packages.

    \b
    edgedl parity digits.bundle
    edgedl parity digits.bundle --locate --variant int8-static
    """
    if locate:
        if any(device != "cpu" for device in devices):
            raise click.UsageError("--locate compares on this machine's CPU: leave out --device")
        show_located(bundle, variants, against or AGAINST, as_json)
        return
    if against is not None:
        raise click.UsageError("--against goes with --locate")
    answers, failure = ask_devices(
        devices, lambda device: ParityRequest(bundle, variants, device), ParityAnswer
    )
    if as_json:
        click.echo(msgspec.json.encode(answers))
    elif answers:
        print_table(_table(answers))
    if failure is not None:
        raise failure
    wrong = [
        f"{v.variant}: {'; '.join(v.reasons)}" for a in answers for v in a.variants if not v.passed
    ]
    if wrong:
        raise ParityError(
            f"parity failed: {' | '.join(wrong)}",
            f"edgedl parity {bundle} --locate shows where two variants part",
        )


HEADERS = (
    "variant", "device", "output", "max |a-b|", "max rel", "of tolerance",
    "SQNR", "cosine", "top-1", "flips", "verdict",
)  # fmt: skip


def _table(answers: list[ParityAnswer]) -> Table:
    rows = [
        _row(variant, answer.device, output)
        for answer in answers
        for variant in answer.variants
        for output in variant.outputs
    ]
    notes = [
        f"{variant.variant} {output.output}: {sequences}"
        for answer in answers
        for variant in answer.variants
        for output in variant.outputs
        if (sequences := show_sequences(output))
    ]
    notes += [
        f"{variant.variant}: {show_quality(variant.quality)} and {show_top1(variant.quality)} "
        f"top-1 agreement on the bundle's {variant.quality.samples} labelled samples"
        for answer in answers
        for variant in answer.variants
        if variant.quality is not None
    ]
    return Table(HEADERS, tuple(rows), tuple(notes))


def _row(variant: VariantParity, device: str, output: OutputParity) -> tuple[str, ...]:
    return (
        variant.variant,
        device,
        output.output,
        f"{output.max_abs:.2g}",
        f"{output.max_rel:.3g}",
        "-" if output.least_multiple is None else f"{output.least_multiple:.2g}x",
        show_noise(output),
        "-" if output.cosine is None else f"{output.cosine:.6f}",
        "-" if output.top1 is None else f"{output.top1:.2%}",
        show_flips(output),
        "ok" if output.passed else "FAILED",
    )
