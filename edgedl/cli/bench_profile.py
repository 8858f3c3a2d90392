"""edgedl bench --profile."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgedl.bench.plan import BenchRequest, Row, encode_rows, plan_cases
from edgedl.bench.plan import first_failure as first_failed_row
from edgedl.bench.profile import (
    by_node,
    by_operator,
    encode_profiles,
    first_failure,
    profile_cases,
    title,
)
from edgedl.bench.report import tabulate
from edgedl.cli.bench_compare import PAGES, Wanted
from edgedl.cli.bench_measure import Measured, measure_kept
from edgedl.cli.bench_pages import measured
from edgedl.cli.options import options_given
from edgedl.cli.result_file import write_result
from edgedl.cli.terminal import ProgressLine, print_table
from edgedl.runtime.protocol import Case, Failure, Profile

WITH_PROFILE = ("bundles", "variants", "devices", "batches", "threads", "sizes", "least_s",
                "json_file", "profile", *PAGES)  # fmt: skip
# Where a page is written, the cases are timed for it too, as without --profile.
WITH_TIMINGS = ("modes", "spinning", "arena", "launches", "seed")


def run_profile(request: BenchRequest, wanted: Wanted, both: bool) -> None:
    """Profile every case, each in a process of its own, and print what was found.

    Where a page is wanted the cases are timed before, for the page holds both.

    Raises:
        UsageError: An option that would do nothing is given.
        EdgedlError: The first case that could not be profiled; the others are printed.
    """
    _refuse_idle(click.get_current_context(), both, bool(wanted.pages))
    cases = plan_cases(request)
    run = Measured([])
    if wanted.pages:
        run = measure_kept(cases, request.launches, request.seed)
    rows, interrupt = run.rows, run.interrupt
    answers: list[Profile | Failure] = []
    if interrupt is None:
        answers, interrupt = _profile(cases, rows)
    found = [answer for answer in answers if isinstance(answer, Profile)]
    content = encode_rows(rows) + encode_profiles(found)
    try:
        if wanted.json_file == "-":
            click.echo(content, nl=False)
        else:
            if rows:
                print_table(tabulate(rows))
            print_profiles(found, after=bool(rows))
    finally:  # whoever reads the tables may leave: `| head`
        if wanted.json_file not in (None, "-") and content:
            write_result(wanted.json_file, content)
        wanted.pages.write(measured(rows, found))
    failure = interrupt or first_failed_row(rows) or first_failure(cases, answers)
    if failure is not None:
        raise failure


def _profile(
    cases: Sequence[Case], rows: Sequence[Row]
) -> tuple[list[Profile | Failure], KeyboardInterrupt | None]:
    """The cases' answers, and the interrupt that ended them early.

    Raises:
        KeyboardInterrupt: It came when nothing had been profiled or timed.
    """
    answers: list[Profile | Failure] = []
    line = ProgressLine()
    # Drawn between cases only: nothing may run beside a measurement.
    try:
        for answer in profile_cases(cases, lambda case: line.show(f"profiling {case.name}")):
            answers.append(answer)
    except KeyboardInterrupt as interrupt:
        if not (answers or rows):
            raise
        return answers, interrupt
    finally:
        line.clear()
    return answers, None


def print_profiles(profiles: Sequence[Profile], after: bool = False) -> None:
    """Two tables each, an empty line before them where something stands above."""
    for position, profile in enumerate(profiles):
        if position or after:
            click.echo()
        click.echo(title(profile))
        print_table(by_operator(profile))
        click.echo()
        print_table(by_node(profile))


def _refuse_idle(context: click.Context, both: bool, timed: bool) -> None:
    if both:
        raise click.UsageError("--profile looks at bundles one by one: leave out `vs`")
    idle = options_given(context).difference(WITH_PROFILE, WITH_TIMINGS * timed)
    for parameter in context.command.params:
        if parameter.name in idle:
            raise click.UsageError(f"{parameter.opts[0]} does nothing with --profile")
