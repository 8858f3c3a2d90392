"""The command line: one thin file per verb. Parse, one call, render."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The `edgedl` command; needs the `cli` extra."""
    _open_closed_streams()
    try:
        from edgedl.cli.commands import cli
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(f"error: the command line needs {error.name}", file=sys.stderr)
        print("hint: pip install 'edgedl[cli]'", file=sys.stderr)
        raise SystemExit(1) from None
    cli()


def _open_closed_streams() -> None:
    """Where a caller closed stdout or stderr, what is written there goes nowhere.

    Left closed, its number would be the next file's that is opened.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
