"""Run a command so that a person sees it live, and keep what it printed."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Terminal control sequences: colours, cursor movements, line erasure (ECMA-48 CSI).
CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")


def run_shown(command: Sequence[str], log: Path) -> int:
    """Run a command on this terminal (or pipe) and write its output to a log as well.

    On a terminal the command gets one of its own, so that it draws its progress bars.

    Returns:
        Its exit code.
    """
    chunks: list[bytes] = []
    if sys.stdout.isatty() and sys.stderr.isatty():

        def keep(descriptor: int) -> bytes:
            data = os.read(descriptor, 65536)
            chunks.append(data)
            return data

        code = os.waitstatus_to_exitcode(pty.spawn(list(command), keep))
    else:
        code = _tee(command, chunks)
    log.write_bytes(_plain(b"".join(chunks)))
    return code


def _tee(command: Sequence[str], chunks: list[bytes]) -> int:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        while data := child.stdout.read1():
            chunks.append(data)
            os.write(2, data)
    return child.returncode


def _plain(data: bytes) -> bytes:
    """Without control sequences; of a line drawn over itself, what was left in the end."""
    lines = CONTROL.sub(b"", data).replace(b"\r\n", b"\n").split(b"\n")
    return b"\n".join(line.rstrip(b"\r").rsplit(b"\r", 1)[-1] for line in lines)
