"""The command line: one thin file per verb. Parse, one call, render."""

from __future__ import annotations

import sys


def main() -> None:
    """The `edgedl` command; needs the `cli` extra."""
    try:
        from edgedl.cli.commands import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(f"error: the command line needs {error.name}", file=sys.stderr)
        print("hint: pip install 'edgedl[cli]'", file=sys.stderr)
        raise SystemExit(1) from None
    cli()
