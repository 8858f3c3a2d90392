"""edgedl bench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from edgedl.bench.drift import ASCII_BLOCKS, BLOCKS, tabulate_course
from edgedl.bench.findings import Findings, named_rows
from edgedl.bench.gate import Gate
from edgedl.bench.phases import tabulate_phases
from edgedl.bench.plan import (
    DEFAULT_LAUNCHES,
    BenchRequest,
    Row,
    encode_rows,
    first_failure,
    plan_cases,
)
from edgedl.bench.report import tabulate
from edgedl.cli.bench_compare import (
    Wanted,
    check_options,
    compare_files,
    run_versus,
    show,
    split_sides,
)
from edgedl.cli.bench_from import read_findings
from edgedl.cli.bench_measure import measure_kept
from edgedl.cli.bench_options import (
    case_options,
    comparison_options,
    loop_options,
    profile_option,
    result_options,
    tune_option,
)
from edgedl.cli.bench_pages import Pages, measured
from edgedl.cli.bench_profile import print_profiles, run_profile
from edgedl.cli.bench_request import bench_request, check_cases, check_loops, check_results
from edgedl.cli.bench_tune import check_tuning, run_tune
from edgedl.cli.options import device_option, variant_option
from edgedl.cli.result_file import check_writable, write_result
from edgedl.cli.terminal import can_print, print_table


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, type=click.Path(), metavar="BUNDLE... [vs BUNDLE...]"
)
@variant_option
@device_option
@case_options
@loop_options
@result_options
@profile_option
@tune_option
@comparison_options
def command(json_file: str | None, phases: bool, **options: Any) -> None:
    """Measure a bundle's variants in fresh processes.

    Every case is launched several times, in random order, interleaved with the others.
    The median comes with a 95 % interval; a percentile only from enough samples.

    \b
    edgedl bench digits.bundle
    edgedl bench text.bundle --size time=64 --batch 1,8 --threads 1 --json text.jsonl
    edgedl bench digits.bundle --mode app --rate 200 --deadline 2
    edgedl bench digits.bundle --variant int8-dynamic --sustained 10m
    edgedl bench text.bundle:fp32 vs text.bundle:int8-dynamic
    edgedl bench main.bundle vs branch.bundle --fail-above 5%
    edgedl bench --compare before.jsonl after.jsonl
    edgedl bench digits.bundle --profile --variant fp32 --threads 1
    edgedl bench digits.bundle --tune
    edgedl bench digits.bundle --profile --html digits.html
    edgedl bench --from digits.jsonl --html digits.html
    """
    bundles, against = split_sides(options.pop("bundles"))
    profiles, tunes = options.pop("profile"), options.pop("tunes")
    as_files, above, strict = (options.pop(n) for n in ("as_files", "fail_above", "strict"))
    check_options(click.get_current_context(), compares=bool(as_files or against))
    check_loops(click.get_current_context())
    check_cases((*bundles, *against), options)
    html_file, markdown_file = options.pop("html_file"), options.pop("markdown_file")
    check_results(json_file, html_file, markdown_file)
    check_writable(json_file)
    pages = Pages(html_file, markdown_file)
    pages.check()
    wanted = Wanted(json_file, None if above is None else Gate(above, strict), pages)
    if options.pop("from_files"):
        show_findings(read_findings(bundles), phases, pages)
        return
    if as_files:
        compare_files(bundles, wanted)
        return
    request = bench_request(bundles, DEFAULT_LAUNCHES if against else None, options)
    if profiles:
        run_profile(request, wanted, both=bool(against))
        return
    if tunes:
        check_tuning(request, bool(against))
        run_tune(request, wanted)
        return
    if against:
        run_versus(request, against, wanted)
        return
    run_plain(request, wanted, phases)


def run_plain(request: BenchRequest, wanted: Wanted, phases: bool) -> None:
    """Measure every case, print the tables and write what is wanted.

    Raises:
        EdgedlError: The first case that failed or answered wrongly; the others are kept.
        KeyboardInterrupt: It was interrupted; what was measured until then is kept.
    """
    run = measure_kept(plan_cases(request), request.launches, request.seed)
    rows, json_file = run.rows, wanted.json_file
    some = any(row.measurements for row in rows)
    try:
        if json_file == "-":
            click.echo(encode_rows(rows), nl=False)
        elif some:
            print_tables(rows, phases)
    finally:  # whoever reads the table may leave: `| head`
        if some and json_file not in (None, "-"):
            write_result(json_file, encode_rows(rows))
        wanted.pages.write(measured(rows))
    failure = run.interrupt or first_failure(rows)
    if failure is not None:
        raise failure


def show_findings(findings: Findings, phases: bool, pages: Pages) -> None:
    """What was measured before: tables, the comparison and the profiles, and pages.

    Raises:
        EdgedlError: A page can't be written, or a case had failed.
    """
    if findings.rows:
        print_tables(named_rows(findings), phases)
    if findings.compared is not None:
        click.echo()
        show(findings.compared)
    print_profiles(findings.profiles, after=bool(findings.rows))
    pages.write(findings)
    failure = first_failure(findings.rows)
    if failure is not None:
        raise failure


def print_tables(rows: Sequence[Row], phases: bool) -> None:
    """The timings; how they changed, where that was measured; and the phases, if wanted."""
    tables = [tabulate(rows)]
    if any(row.case.sustained_s for row in rows):
        tables.append(tabulate_course(rows, BLOCKS if can_print(BLOCKS) else ASCII_BLOCKS))
    if phases:
        tables.append(tabulate_phases(rows))
    for number, table in enumerate(tables):
        if number:
            click.echo()
        print_table(table)
