"""What edgedl bench was asked for, out of its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgedl.bench.plan import DEFAULT_LAUNCHES, BenchRequest, split_target
from edgedl.cli.options import options_given
from edgedl.runtime.protocol import OpenLoop


def check_loops(context: click.Context) -> None:
    """Refuse options of a loop that isn't run.

    Raises:
        UsageError: There is one.
    """
    given = options_given(context)
    for name, option in (("arrivals", "--arrivals"), ("deadline_ms", "--deadline")):
        if name in given and "rate" not in given:
            raise click.UsageError(f"{option} needs --rate")
    if {"least_s", "sustained_s"} <= given:
        raise click.UsageError("--seconds and --sustained both say how long: give one")


def check_cases(bundles: Sequence[str], options: Mapping[str, Any]) -> None:
    """Refuse what would be measured otherwise than asked for.

    Args:
        bundles: All that are measured, of both sides.
        options: The command's, by their parameters' names.

    Raises:
        UsageError: A size is given twice, or no bundle would have the variants.
    """
    axes = [axis for axis, _ in options["sizes"]]
    if "batch" in axes:
        raise click.UsageError("--size batch=N: the batch's sizes are given by --batch")
    for axis in axes:
        if axes.count(axis) > 1:
            raise click.UsageError(f"--size {axis}=N is given twice: a run has one size")
    if options["variants"] and all(split_target(bundle)[1] for bundle in bundles):
        raise click.UsageError("--variant does nothing: the bundles name theirs")


def check_results(json_file: str | None, *pages: str | None) -> None:
    """Refuse results that would overwrite each other, and pages on stdout.

    Raises:
        UsageError: Two files are the same, or a page is `-`.
    """
    if "-" in pages:
        raise click.UsageError("a page is written to a file: - is none")
    files = [Path(file).resolve() for file in (json_file, *pages) if file not in (None, "-")]
    if len(set(files)) < len(files):
        raise click.UsageError("--json, --html and --markdown each need a file of their own")


def bench_request(
    bundles: tuple[str, ...], launches: int | None, options: Mapping[str, Any]
) -> BenchRequest:
    """The request that the options make.

    Args:
        bundles: What to measure.
        launches: Launches where --launches doesn't say; as --sustained needs for None.
        options: The command's, by their parameters' names.
    """
    told = dict(options)
    rate, deadline_ms, arrivals = (told.pop(n) for n in ("rate", "deadline_ms", "arrivals"))
    usual = launches or (1 if told["sustained_s"] else DEFAULT_LAUNCHES)
    told["launches"] = told["launches"] or usual
    for name in ("threads", "spinning", "arena"):
        told[name] = told[name] or (None,)
    deadline_s = None if deadline_ms is None else deadline_ms / 1e3
    pace = None if rate is None else OpenLoop(rate, arrivals, deadline_s, told["seed"])
    return BenchRequest(bundles, open_loop=pace, **told)


def show_duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
