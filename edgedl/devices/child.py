"""Child processes that don't outlive an interrupt."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def run_child(
    command: Sequence[str], stdin: bytes = b"", limit_s: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """`subprocess.run`, its output captured; whatever ends the wait ends the child too.

    `subprocess.run` can't end a child that an interrupt catches while it is being started.
    Here an interrupt waits until it has been.

    Raises:
        subprocess.TimeoutExpired: It took longer than `limit_s` seconds, and was killed.
    """
    child: subprocess.Popen[bytes] | None = None
    try:
        with _interrupt_held():
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        out, err = child.communicate(stdin, limit_s)
    except BaseException:
        if child is not None:
            child.kill()
            child.communicate()
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """SIGINT comes after the block. Only the main thread is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
