"""edgedl bench."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edgedl.bench.gate import Gate
from edgedl.bench.plan import (
    DEFAULT_LAUNCHES,
    BenchRequest,
    Row,
    encode_rows,
    first_failure,
    plan_cases,
    run_cases,
)
from edgedl.bench.report import tabulate
from edgedl.cli.bench_compare import (
    Wanted,
    check_options,
    compare_files,
    run_versus,
    split_sides,
)
from edgedl.cli.bench_options import comparison_options, profile_option
from edgedl.cli.bench_profile import run_profile
from edgedl.cli.options import Parsed, axis_size, counts, device_option, variant_option
from edgedl.cli.terminal import print_table
from edgedl.runtime.protocol import Case


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, type=click.Path(), metavar="BUNDLE... [vs BUNDLE...]"
)
@variant_option
@device_option
@click.option(
    "--batch",
    "batches",
    type=Parsed("counts", counts),
    default="1",
    show_default=True,
    metavar="1,8",
    help="Batch sizes.",
)
@click.option(
    "--threads",
    type=Parsed("counts", counts),
    metavar="1,4",
    help="Threads within an operator; all usable CPUs when left out.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=Parsed("size", axis_size),
    metavar="AXIS=N",
    help="The size of another dynamic axis; the least that is proved when left out: 1, mostly.",
)
@click.option(
    "--launches",
    type=click.IntRange(1),
    default=DEFAULT_LAUNCHES,
    show_default=True,
    help="Fresh processes per case.",
)
@click.option(
    "--seconds",
    "least_s",
    type=click.FloatRange(0, min_open=True),
    default=0.5,
    show_default=True,
    help="Least time to measure in each launch.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write raw samples and the machine as JSON lines; - prints them instead of the table.",
)
@profile_option
@comparison_options
def command(json_file: str | None, **options: Any) -> None:
    """Measure a bundle's variants in fresh processes.

    Every case is launched several times, in random order, interleaved with the others.
    The median comes with a 95 % interval; a percentile only from enough samples.

    \b
    edgedl bench digits.bundle
    edgedl bench text.bundle --size time=64 --batch 1,8 --threads 1 --json text.jsonl
    edgedl bench text.bundle:fp32 vs text.bundle:int8-dynamic
    edgedl bench main.bundle vs branch.bundle --fail-above 5%
    edgedl bench --compare before.jsonl after.jsonl
    edgedl bench digits.bundle --profile --variant fp32 --threads 1
    """
    bundles, against = split_sides(options.pop("bundles"))
    profiles = options.pop("profile")
    as_files, above, strict = (options.pop(n) for n in ("as_files", "fail_above", "strict"))
    check_options(click.get_current_context(), compares=bool(as_files or against))
    wanted = Wanted(json_file, None if above is None else Gate(above, strict))
    if as_files:
        compare_files(bundles, wanted)
        return
    threads = options.pop("threads") or (None,)
    request = BenchRequest(bundles, threads=threads, **options)
    if profiles:
        run_profile(request, json_file, both=bool(against))
        return
    if against:
        run_versus(request, against, measure, wanted)
        return
    rows = measure(plan_cases(request), request.launches, request.seed)
    if json_file == "-":
        click.echo(encode_rows(rows), nl=False)
    elif any(row.measurements for row in rows):
        print_table(tabulate(rows))
        if json_file is not None:
            Path(json_file).write_bytes(encode_rows(rows))
    failure = first_failure(rows)
    if failure is not None:
        raise failure


def measure(cases: list[Case], launches: int, seed: int) -> list[Row]:
    """Run the cases with a progress bar on stderr."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # The bar is redrawn between launches only: nothing may run beside a measurement.
    with Progress(*columns, console=console, auto_refresh=False, transient=True,
                  disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        task = bar.add_task("measuring", total=launches * len(cases))

        def progress(case: Case) -> None:
            bar.update(task, description=f"{case.name:<24}", refresh=True)
            bar.advance(task)

        return run_cases(cases, launches, seed, progress)
