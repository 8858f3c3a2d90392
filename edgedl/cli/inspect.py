"""edgedl inspect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from edgedl.bench.cells import show_ns
from edgedl.bench.qualities import show_quality, show_top1
from edgedl.bench.table import Table
from edgedl.bench.verdicts import show_least_noise
from edgedl.cli.evidence import search_table
from edgedl.cli.options import bundle_argument, device_option, json_flag, variant_option
from edgedl.cli.placement import show_placement
from edgedl.cli.terminal import print_table, shorten
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.manifest import Manifest, Variant
from edgedl.runtime.paired import shortage
from edgedl.runtime.tuned import all_tuned


@click.command()
@bundle_argument
@json_flag
@click.option(
    "--placement",
    is_flag=True,
    help="Instead: which node runs on which provider, as one run in a fresh process tells.",
)
@variant_option
@device_option
@click.pass_context
def command(
    context: click.Context,
    bundle: str,
    as_json: bool,
    placement: bool,
    variants: tuple[str, ...],
    devices: tuple[str, ...],
) -> None:
    """Show what a bundle holds: tensors, variants, evidence and where it came from.

    With --placement, every node that ONNX Runtime runs, after its own fusions, and where.

    \b
    edgedl inspect digits.bundle
    edgedl inspect digits.bundle --placement --device openvino+cpu --variant int8-dynamic
    """
    if placement:
        show_placement(bundle, variants, devices, as_json)
        return
    for name, option in (("variants", "--variant"), ("devices", "--device")):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} goes with --placement")
    manifest = open_bundle(bundle).manifest
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode())
        return
    for line in overview(manifest):
        click.echo(line)
    click.echo()
    rows = tuple(_row(v, manifest) for v in manifest.variants)
    print_table(Table(HEADERS, rows, _shortages(manifest)))
    for line in left_in_float(manifest.variants):
        click.echo(line)
    for line in left_out(manifest):
        click.echo(line)
    for line in tuned_here(Path(bundle)):
        click.echo(line)
    if manifest.search is not None:
        click.echo()
        print_table(search_table(manifest.search))


def left_in_float(variants: Sequence[Variant]) -> list[str]:
    """What each quantised variant leaves in float, a line per reason."""
    lines = []
    for variant in variants:
        reasons: dict[tuple[str, str], list[str]] = {}
        for left in variant.unquantised:
            reasons.setdefault((left.operator, left.reason), []).append(left.node)
        if reasons:
            lines += ["", f"{variant.name} leaves in float:"]
        lines += [
            f"  {len(nodes)} {operator} ({shorten(nodes, 3)}): {reason}"
            for (operator, reason), nodes in reasons.items()
        ]
    return lines


def tuned_here(bundle: Path) -> list[str]:
    """What a benchmark found best on some machine; on another it is not believed."""
    return [
        f"tuned for {t.device}: {t.variant}, {t.settings}, {show_ns(t.median_ns)} instead of "
        f"{show_ns(t.default_ns)} (on {t.machine})"
        for t in all_tuned(bundle)
    ]


def left_out(manifest: Manifest) -> list[str]:
    """Recipes that made no variant, a line each; a search has them in its table."""
    rejected = manifest.provenance.get("recipes_rejected")
    if manifest.search is not None or not isinstance(rejected, list) or not rejected:
        return []
    return [
        "",
        "recipes left out:",
        *(f"  {r.get('recipe')}: {r.get('reason')}" for r in rejected if isinstance(r, dict)),
    ]


HEADERS = ("variant", "bytes", "opset", "onnxruntime", "SQNR", "top-1", "quality", "operators")


def overview(manifest: Manifest) -> list[str]:
    """The bundle's outside, a line per tensor."""
    fed_back = {pair.output: pair.input for pair in manifest.state}
    lines = [
        f"{manifest.name}: {manifest.task.__struct_config__.tag}"
        if manifest.task
        else manifest.name
    ]
    lines += [f"  in   {spec}" for spec in manifest.inputs]
    lines += [
        f"  out  {spec}" + (f"  -> {fed_back[spec.name]}" if spec.name in fed_back else "")
        for spec in manifest.outputs
    ]
    lines += _origin(manifest.provenance)
    cases = manifest.golden.cases
    lines.append(f"  {len(cases)} golden cases: {shorten([c.name for c in cases])}")
    if manifest.state and "sequence_in_parts" in manifest.provenance:
        lines.append(f"  a sequence in parts: {manifest.provenance['sequence_in_parts']}")
    return lines


def _origin(provenance: Mapping[str, Any]) -> list[str]:
    """Where the model came from, as far as the manifest says."""
    source, conversion, samples = (
        value if isinstance(value := provenance.get(key), dict) else {}
        for key in ("source", "conversion", "samples")
    )
    way = conversion.get("path")
    lines = [f"  from {source.get('framework')} {source.get('given')} by {way}"]
    lines += [
        f"       not by {r.get('path')}: {r.get('reason')}"
        for r in conversion.get("rejected", [])
        if isinstance(r, dict)
    ]
    if conversion.get("caution"):
        lines.append(f"       caution: {conversion['caution']}")
    lines.append(f"       simplified: {provenance.get('simplified')}")
    made_up = "" if samples.get("real") else " (made up: quantisation wants real ones)"
    lines.append(f"       {samples.get('count')} samples{made_up}")
    unmoved = provenance.get("unmoved_outputs")
    if isinstance(unmoved, list) and unmoved:
        lines.append(f"       every one is answered alike: {', '.join(map(str, unmoved))}")
    return lines


def _row(variant: Variant, manifest: Manifest) -> tuple[str, ...]:
    state = {pair.output for pair in manifest.state}
    default = " (default)" if variant.name == manifest.default_variant else ""
    return (
        variant.name + default,
        f"{variant.bytes:,}",
        str(variant.opset),
        f">= {variant.min_onnxruntime}",
        show_least_noise([o for o in variant.parity if o.output not in state]),
        show_top1(variant.quality),
        show_quality(variant.quality),
        shorten([f"{count} {name}" for name, count in _biggest(variant.operators)], 4),
    )


def _shortages(manifest: Manifest) -> tuple[str, ...]:
    """That the labels were too few to show that the budget holds."""
    found = (
        shortage(v.quality, v.tolerance.max_drop)
        for v in manifest.variants
        if v.tolerance.max_drop is not None
    )
    return tuple(dict.fromkeys(note for note in found if note))


def _biggest(operators: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(operators.items(), key=lambda item: -item[1])
