"""Option stacks of edgedl bench."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from edgedl.cli.options import Parsed

Command = Callable[..., Any]


def percent(text: str) -> float:
    """Read `5%` as 0.05."""
    number = text.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{text!r} is not a percentage such as 5%") from None
    if not 0 <= value < 1000:
        raise ValueError(f"{text!r} is not a percentage from 0% on")
    return value / 100


def comparison_options(command: Command) -> Command:
    """Two runs' files instead of bundles, and the gate of any comparison."""
    for option in (
        click.option(
            "--strict",
            is_flag=True,
            help="With --fail-above: fail unless B is shown to be within the limit.",
        ),
        click.option(
            "--fail-above",
            type=Parsed("percent", percent),
            metavar="5%",
            help="Exit code 3 where B is shown to be slower than A by more than this.",
        ),
        click.option(
            "--compare",
            "as_files",
            is_flag=True,
            help="Compare files that --json wrote: A.json B.json, and A.json measured again as "
            "a third for the noise; or the one file of an A vs B run.",
        ),
    ):
        command = option(command)
    return command


profile_option = click.option(
    "--profile",
    is_flag=True,
    help="Instead of timings: time by operator, and how far each node is from what this machine "
    "does at most.",
)
