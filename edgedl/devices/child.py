"""Child processes that don't outlive an interrupt, whichever signal brings it."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Ctrl-C; `kill`, `timeout` or a service that stops; a terminal that closes (not on Windows).
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's that ends the process, raised so that it cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Ended where a signal would end the process at once.

    Signals that are ignored (nohup) or handled stay so. Only the main thread can ask for them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


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
    """Signals that end the process come after the block. Only the main thread gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in ENDING
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
