"""Measuring with a progress bar; an interrupt keeps what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edgedl.bench.plan import Row, run_cases
from edgedl.cli.bench_request import show_duration
from edgedl.cli.terminal import say
from edgedl.runtime.protocol import Case


@dataclass(frozen=True)
class Measured:
    """What was measured, and the interrupt that ended it early; to be raised at the end."""

    rows: list[Row]
    interrupt: KeyboardInterrupt | None = None


def measure_kept(cases: Sequence[Case], launches: int, seed: int) -> Measured:
    """Run the cases as `measure` does; an interrupt ends it with what was measured until then.

    Raises:
        KeyboardInterrupt: It came before the first launch was done.
    """
    kept: list[Row] = []
    try:
        return Measured(measure(cases, launches, seed, kept.extend))
    except KeyboardInterrupt as interrupt:
        if not any(row.measurements or row.failure for row in kept):
            raise
        return Measured(kept, interrupt)


def measure(
    cases: Sequence[Case],
    launches: int,
    seed: int,
    interrupted: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Run the cases with a progress bar on stderr; see `run_cases`."""
    seconds = launches * sum(case.sustained_s or 0 for case in cases)
    if seconds:
        count = launches * len(cases)
        say(f"{count} sustained launch{'es' * (count > 1)}: {show_duration(seconds)} and more")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    # The bar is redrawn between launches only: nothing may run beside a measurement.
    with Progress(*columns, console=console, auto_refresh=False, transient=True,
                  disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        task = bar.add_task("measuring", total=launches * len(cases))

        def progress(case: Case) -> None:
            bar.update(task, description=f"{case.name:<24}", refresh=True)
            bar.advance(task)

        return run_cases(cases, launches, seed, progress, interrupted=interrupted)
