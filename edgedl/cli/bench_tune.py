"""edgedl bench --tune."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from edgedl.bench.cells import show_ns
from edgedl.bench.plan import (
    BenchRequest,
    Row,
    encode_rows,
    first_failure,
    plan_cases,
    split_target,
    thread_counts,
)
from edgedl.bench.report import tabulate
from edgedl.bench.tune import Measure, Sweep, tune
from edgedl.cli.bench_compare import Wanted
from edgedl.cli.bench_measure import measure_kept
from edgedl.cli.bench_pages import measured
from edgedl.cli.result_file import check_writable, write_result
from edgedl.cli.terminal import print_table, say
from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.protocol import Case
from edgedl.runtime.tuned import Tuned, not_stored, store_tuned, tuned_file


def check_tuning(request: BenchRequest, against: bool) -> None:
    """Refuse what can't be tuned for.

    Raises:
        UsageError: Several sizes or modes, requests at a rate, or a comparison.
    """
    for wrong, why in (
        (against, "--tune takes bundles one by one: leave out `vs`"),
        (len(request.batches) > 1, "--tune finds the best for one batch size: give one"),
        (request.modes not in (("model",), ("run",), ("app",)), "--tune takes one --mode"),
        (request.open_loop is not None, "--rate does nothing with --tune"),
        (request.sustained_s is not None, "--sustained does nothing with --tune"),
    ):
        if wrong:
            raise click.UsageError(why)


def run_tune(request: BenchRequest, wanted: Wanted) -> None:
    """Tune each bundle on each device, say what is best, and store it beside the bundle.

    Raises:
        EdgedlError: A case failed, no timing can be trusted, or nothing can be written.
        KeyboardInterrupt: It was interrupted; what was measured until then is kept.
    """
    _check_storable(request.bundles)
    every: list[Row] = []
    quiet = wanted.json_file == "-"

    def measure(cases: list[Case]) -> list[Row]:
        run = measure_kept(cases, request.launches, request.seed)
        every.extend(run.rows)
        if not quiet:
            print_table(tabulate(run.rows))
            click.echo()
        if run.interrupt is not None:
            raise run.interrupt
        return run.rows

    try:
        for target, device in itertools.product(request.bundles, request.devices):
            path = Path(split_target(target)[0])
            found = _tune(request, target, device, measure)
            if not quiet:
                click.echo(_sentence(path, found))
            say(f"stored in {store_tuned(path, found)}: load() uses it on this machine")
    finally:
        _keep(every, wanted)
    failure = first_failure(every)  # what is best of the others is stored all the same
    if failure is not None:
        raise failure


def _check_storable(targets: Sequence[str]) -> None:
    """Find out before measuring that there is no bundle, or no place beside it.

    Raises:
        EdgedlError: So it is.
    """
    for target in targets:
        path = Path(split_target(target)[0])
        open_bundle(path)
        try:
            check_writable(str(tuned_file(path)))
        except OSError as error:
            raise not_stored(path, error) from None


def _tune(request: BenchRequest, target: str, device: str, measure: Measure) -> Tuned:
    """Tune one bundle on one device."""
    path, variants = split_target(target, request.variants)
    bundle = open_bundle(path)
    sweep = _sweep(bundle, variants, device, request)
    return tune(bundle, _case(request, path, device, sweep), sweep, measure)


def _keep(rows: Sequence[Row], wanted: Wanted) -> None:
    """Write every row that was measured, if any was."""
    if not rows:
        return
    if wanted.json_file == "-":
        click.echo(encode_rows(rows), nl=False)
    elif wanted.json_file is not None:
        write_result(wanted.json_file, encode_rows(rows))
    wanted.pages.write(measured(rows))


def _sweep(bundle: Bundle, variants: tuple[str, ...], device: str, request: BenchRequest) -> Sweep:
    """What the options leave to choose from; what isn't given is swept."""
    given = request.threads if request.threads != "auto" else ()
    threads = tuple(count for count in given if count is not None) or thread_counts(device)
    spinning = tuple(s for s in request.spinning if s is not None)
    arena = tuple(a for a in request.arena if a is not None)
    names = variants or tuple(v.name for v in bundle.manifest.variants)
    return Sweep(names, threads, spinning or (False, True), arena or (True, False))


def _case(request: BenchRequest, path: str, device: str, sweep: Sweep) -> Case:
    """Where, at what sizes and for how long; the sweep says the rest."""
    single = replace(
        request, bundles=(path,), devices=(device,), variants=sweep.variants[:1],
        threads=(None,), spinning=(None,), arena=(None,),
    )  # fmt: skip
    return plan_cases(single)[0]


def _sentence(path: Path, tuned: Tuned) -> str:
    share = tuned.median_ns / tuned.default_ns
    return (
        f"{path.name} on {tuned.device}: {tuned.variant} with {tuned.settings} takes "
        f"{show_ns(tuned.median_ns)}, {share:.2f} of the untuned default's "
        f"{show_ns(tuned.default_ns)}"
    )
