"""The parity of what was measured: each variant's outputs beside the source framework's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgedl.bench.findings import Findings
from edgedl.bench.qualities import show_value
from edgedl.bench.table import Table
from edgedl.bench.verdicts import show_flips, show_noise
from edgedl.runtime.manifest import OutputParity, Tolerance, Variant

HEADERS = (
    "variant", "output", "max |a-b|", "SQNR", "cosine", "top-1", "flips", "tolerance", "verdict",
    "in this run", "quality",
)  # fmt: skip
WORDS = ("variant", "output", "tolerance", "verdict", "in this run")


def parity_table(findings: Findings) -> Table:
    """Each variant's outputs against the source framework's.

    From all golden vectors, as the bundle keeps it; where that tells nothing, from the
    launches' first runs.
    """
    rows = []
    variants = _variants(findings)
    several = len({bundle for bundle, _ in variants}) > 1
    for (bundle, name), variant in variants.items():
        shown = f"{_stem(bundle)} {name}" if several else name
        here = _checked(findings, bundle, name)
        first = list({checked.output: checked for checked in reversed(here)}.values())[::-1]
        for output in variant.parity if variant and variant.parity else first:
            same = [checked for checked in here if checked.output == output.output]
            rows.append(_row(shown, variant, output, same))
    return Table(HEADERS, tuple(rows), tuple(_lost(findings)), WORDS)


def _variants(findings: Findings) -> dict[tuple[str, str], Variant | None]:
    """Those that were measured, by bundle and name; None where the bundle tells no more."""
    cases = [row.case for row in findings.rows if not row.case.subject]
    return {(case.bundle, case.variant): findings.variant(case) for case in cases}


def _stem(bundle: str) -> str:
    return Path(bundle).name.removesuffix(".bundle")


def _row(
    name: str, variant: Variant | None, output: OutputParity, here: Sequence[OutputParity]
) -> tuple[str, ...]:
    quality = None if variant is None else variant.quality
    return (
        name,
        output.output,
        f"{output.max_abs:.3g}",
        show_noise(output),
        "-" if output.cosine is None else f"{output.cosine:.6f}",
        "-" if output.top1 is None else f"{output.top1:.2%}",
        show_flips(output),
        "unknown" if variant is None else show_tolerance(variant.tolerance),
        "passed" if output.passed else f"failed: {output.reason}",
        _in_this_run(here),
        "-" if quality is None else show_value(quality),
    )


def show_tolerance(tolerance: Tolerance) -> str:
    """What a variant was held to."""
    parts = []
    if tolerance.element_wise:
        parts.append(f"{tolerance.atol or 0:g} + {tolerance.rtol or 0:g} |b|")
    if tolerance.min_sqnr_db is not None:
        parts.append(f"SQNR >= {tolerance.min_sqnr_db:g} dB")
    if tolerance.max_drop is not None:
        parts.append(f"loss <= {tolerance.max_drop:g} %")
    if tolerance.flip_margin is not None:
        parts.append(f"flips <= {tolerance.flip_margin:g}")
    return ", ".join(parts)


def _checked(findings: Findings, bundle: str, name: str) -> list[OutputParity]:
    """What the launches' first runs answered, where their inputs were golden."""
    return [
        checked
        for row in findings.rows
        if (row.case.bundle, row.case.variant, row.case.subject) == (bundle, name, "")
        for m in row.measurements
        for checked in m.parity
    ]


def _in_this_run(here: Sequence[OutputParity]) -> str:
    if not here:
        return "not checked"
    wrong = sum(not checked.passed for checked in here)
    launches = f"{len(here)} launch{'es' * (len(here) > 1)}"
    return f"{wrong} of {launches} wrong" if wrong else f"right, {launches}"


def _lost(findings: Findings) -> list[str]:
    lost = [_stem(bundle) for bundle, manifest in findings.manifests.items() if manifest is None]
    said = "its bundle wasn't there any more: parity is this run's, size and quality are unknown"
    return [f"{name}: {said}" for name in lost]
