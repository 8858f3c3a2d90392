"""A child that is waited for ends with the wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgedl.devices.child import run_child

SLEEPS = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def test_what_a_child_says() -> None:
    program = "import sys; print(sys.stdin.read()); sys.stderr.write('!'); sys.exit(3)"
    done = run_child([sys.executable, "-c", program], b"hello")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (3, b"hello", b"!")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_is_killed_at_its_limit(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_child([sys.executable, "-c", SLEEPS, str(tmp_path / "pid")], limit_s=1.0)
    assert _is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_an_interrupt_takes_the_child_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    """At once means while the child is being started, where subprocess.run would leave it."""
    begun: list[int] = []
    popen = subprocess.Popen

    def started(*args: object, **options: object) -> subprocess.Popen[bytes]:
        child = popen(*args, **options)  # type: ignore[call-overload]
        begun.append(child.pid)
        if after_s:
            threading.Timer(after_s, os.kill, [os.getpid(), signal.SIGINT]).start()
        else:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        return child

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", SLEEPS, str(tmp_path / "pid")])
    assert _is_gone(begun[0])
