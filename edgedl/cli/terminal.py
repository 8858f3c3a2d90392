"""What a person sees: tables on stdout, everything else on stderr, errors in one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from edgedl.bench.table import Table, split_columns, width
from edgedl.devices.child import Ended, ended_by_signals
from edgedl.runtime.errors import EdgedlError


def print_table(table: Table, to_stderr: bool = False) -> None:
    """A table and its notes on stdout; in parts where a terminal is too narrow for all of it."""
    shown = (sys.stderr if to_stderr else sys.stdout).isatty()
    console = Console(highlight=False, stderr=to_stderr)
    for number, part in enumerate(split_columns(table, console.width) if shown else [table]):
        if number:
            console.print()
        console.width = max(console.width, width(part))  # rich would cut cells
        console.print(_rich(part))
    for note in table.notes:
        console.print(note, style="dim", soft_wrap=True, markup=False)


def _rich(table: Table) -> RichTable:
    rich = RichTable(box=None, pad_edge=False, header_style="bold")
    for position, header in enumerate(table.headers):
        left = position == 0 or header in table.prose
        rich.add_column(header, justify="left" if left else "right", no_wrap=True)
    for row in table.rows:
        rich.add_row(*(Text(_printable(cell)) for cell in row))
    return rich


def _printable(text: str) -> str:
    """The text without what would move a terminal's cursor or colour it: names are anyone's."""
    return "".join(character if character.isprintable() else "?" for character in text)


def can_print(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def say(text: str) -> None:
    """A line on stderr."""
    click.echo(text, err=True)


class ProgressLine:
    """A line on stderr that is drawn over itself; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Draw the line, the old one away."""
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text[:78]}", err=True, nl=False)
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a person can act on into a line and a hint; the only place that exits."""
    try:
        with ended_by_signals():
            yield
    except EdgedlError as error:
        _fail(error.message, error.hint, error.exit_code)
    except Ended as signalled:
        _fail(f"interrupted by {signal.Signals(signalled.number).name}", "", 128 + signalled.number)
    except KeyboardInterrupt:
        _fail("interrupted", "", 130)
    except BrokenPipeError:
        _abandon_stdout()
        raise SystemExit(1) from None
    except MemoryError:
        _fail("out of memory", "try a smaller model or batch", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = "free some space, here or where TMPDIR points" * (error.errno == errno.ENOSPC)
        _fail(f"{where}{error.strerror or error}", full, 1)


def _fail(message: str, hint: str, exit_code: int) -> None:
    with suppress(OSError):  # stderr may be closed or full too; the exit code still tells
        click.echo(f"error: {' '.join(message.split())}", err=True)
        if hint:
            click.echo(f"hint: {hint}", err=True)
    _abandon_stdout()
    raise SystemExit(exit_code)


def _abandon_stdout() -> None:
    """Drop what stdout can't take: Python would try again at exit, complain, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shorten(items: Sequence[str], most: int = 6) -> str:
    """A list in a line, its end left out where it is long."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown}, ... ({len(items)} in all)"
