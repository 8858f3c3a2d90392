"""This machine: a worker in a fresh process of this interpreter."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import msgspec

from edgedl.devices.child import run_child
from edgedl.runtime.errors import WorkerError
from edgedl.runtime.protocol import Answer, Request

WORKER = ("-m", "edgedl.runtime.worker")


class LocalDevice:
    """This machine's CPU, or one of its GPUs."""

    def __init__(self, name: str, command: Sequence[str] = (sys.executable, *WORKER)) -> None:
        self.name = name
        self._command = list(command)

    def run(self, request: Request) -> Answer:
        """Run one request in a fresh process; blocks, so that nothing competes with it."""
        child = run_child(self._command, msgspec.json.encode(request) + b"\n")
        return read_answer(child.stdout, child.returncode, child.stderr)


def read_answer(stdout: bytes, returncode: int, stderr: bytes) -> Answer:
    """The worker's answer, or why there is none.

    Raises:
        WorkerError: It died, or said something else.
    """
    lines = stdout.splitlines()
    try:
        answer: Answer = msgspec.json.decode(lines[-1] if lines else b"", type=Answer)
        return answer
    except msgspec.DecodeError:
        words = stderr.decode(errors="replace").strip().splitlines()
        raise WorkerError(
            f"the worker {_how_it_ended(returncode)}: {words[-1][:300] if words else 'no message'}",
            _next_step(returncode),
        ) from None


def _next_step(returncode: int) -> str:
    if returncode == -getattr(signal, "SIGKILL", 9):
        return "a system that runs out of memory kills: see dmesg, or try a smaller batch"
    return "run `python -m edgedl.runtime.worker` by hand to see more"


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        try:
            return f"was killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"was killed by signal {-returncode}"
    return f"ended with status {returncode}"
