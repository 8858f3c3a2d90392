"""edgedl bench --profile."""

from __future__ import annotations

import click

from edgedl.bench.plan import BenchRequest, plan_cases
from edgedl.bench.profile import (
    by_node,
    by_operator,
    encode_profiles,
    first_failure,
    profile_cases,
    title,
)
from edgedl.cli.options import options_given
from edgedl.cli.result_file import write_result
from edgedl.cli.terminal import ProgressLine, print_table
from edgedl.runtime.protocol import Profile

WITH_PROFILE = ("bundles", "variants", "devices", "batches", "threads", "sizes", "least_s",
                "json_file", "profile")  # fmt: skip


def run_profile(request: BenchRequest, json_file: str | None, both: bool) -> None:
    """Profile every case, each in a process of its own, and print what was found.

    Raises:
        UsageError: An option that would do nothing is given.
        EdgedlError: The first case that could not be profiled; the others are printed.
    """
    _refuse_idle(click.get_current_context(), both)
    cases = plan_cases(request)
    line = ProgressLine()
    # Drawn between cases only: nothing may run beside a measurement.
    answers = profile_cases(cases, lambda case: line.show(f"profiling {case.name}"))
    line.clear()
    found = [answer for answer in answers if isinstance(answer, Profile)]
    if json_file == "-":
        click.echo(encode_profiles(found), nl=False)
    else:
        _print(found)
        if json_file is not None and found:
            write_result(json_file, encode_profiles(found))
    failure = first_failure(cases, answers)
    if failure is not None:
        raise failure


def _print(profiles: list[Profile]) -> None:
    for position, profile in enumerate(profiles):
        if position:
            click.echo()
        click.echo(title(profile))
        print_table(by_operator(profile))
        click.echo()
        print_table(by_node(profile))


def _refuse_idle(context: click.Context, both: bool) -> None:
    if both:
        raise click.UsageError("--profile looks at bundles one by one: leave out `vs`")
    idle = options_given(context).difference(WITH_PROFILE)
    for parameter in context.command.params:
        if parameter.name in idle:
            raise click.UsageError(f"{parameter.opts[0]} does nothing with --profile")
