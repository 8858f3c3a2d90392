"""Rows that a benchmark shouldn't be judged by."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.plan import Row
from edgedl.cli.terminal import say


def say_invalid(rows: Sequence[Row]) -> None:
    """Tell of every row that was measured while the machine throttled, say; see docs/bench.md."""
    for row in rows:
        for reason in row.invalid:
            say(f"  {row.case.name} is invalid: {reason}")
