"""edgedl bench that Ctrl-C or a signal ends: what was measured until then is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgedl.bench.plan import decode_rows
from edgedl.runtime.tuned import all_tuned
from tests.cli.conftest import ROOT, Edgedl, assert_one_error
from tests.graphs import write_classifier_bundle

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="children are seen in Linux's /proc"
)

QUICK = ("--seconds", "0.01", "--threads", "1")
NOTE = "interrupted: not every launch was done"


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(write_classifier_bundle(tmp_path / "a.bundle"))


def interrupted(
    arguments: Sequence[str], workers: int, number: signal.Signals = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """`edgedl bench ARGUMENTS...`, ended when it has started so many workers.

    Like a terminal's Ctrl-C, the signal reaches the worker too.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "edgedl", "bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    seen: set[str] = set()
    while len(seen) < workers and child.poll() is None:
        seen.update(children.read_text().split())
        time.sleep(0.002)
    os.killpg(child.pid, number)
    stdout, stderr = child.communicate(timeout=60)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("sides", "options", "number", "code"),
    [
        (1, ("--launches", "1000", "--phases"), signal.SIGINT, 130),
        (1, ("--launches", "1000", "--sustained", "1s"), signal.SIGINT, 130),
        (2, ("--launches", "1000", "--fail-above", "5%"), signal.SIGTERM, 143),
    ],
)
def test_what_was_measured_is_printed_and_written(
    edgedl: Edgedl, bundle: str, tmp_path: Path, sides: int, options: tuple[str, ...],
    number: signal.Signals, code: int,
) -> None:  # fmt: skip
    target = f"{bundle}:fp32"
    file = tmp_path / "rows.jsonl"
    quick = QUICK[2:] if "--sustained" in options else QUICK
    pages = ("--html", str(tmp_path / "page.html"), "--markdown", str(tmp_path / "page.md"))
    arguments = (*([target, "vs", target] if sides == 2 else [target]), *options, *quick, *pages)
    done = interrupted([*arguments, "--json", str(file)], 3 * sides, number)
    assert done.returncode == code, done.stderr
    assert_one_error(done.stderr, "interrupted")
    assert NOTE in done.stdout
    rows = decode_rows(file.read_bytes())
    assert all(row.interrupted for row in rows)
    assert sum(len(row.measurements) for row in rows) in (3 * sides - 1, 3 * sides)
    assert NOTE in (tmp_path / "page.md").read_text()
    assert NOTE in (tmp_path / "page.html").read_text()
    again = edgedl("bench", "--from", file)
    assert again.exit_code == 0
    assert NOTE in again.stdout


def test_nothing_is_tuned_but_the_rows_are_kept(bundle: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    done = interrupted([bundle, "--tune", "--launches", "1000", *QUICK, "--json", str(file)], 3)
    assert done.returncode == 130
    assert_one_error(done.stderr, "interrupted")
    assert NOTE in done.stdout
    assert sum(len(row.measurements) for row in decode_rows(file.read_bytes())) in (2, 3)
    assert not all_tuned(Path(bundle))


def test_profiles_until_then_are_shown(bundle: str) -> None:
    done = interrupted([bundle, "--profile", "--seconds", "0.01", "--batch", "1,2,3"], 2)
    assert done.returncode == 130
    assert_one_error(done.stderr, "interrupted")
    assert done.stdout.count("untraced run") == 1


def test_before_anything_was_measured_nothing_is_written(bundle: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    done = interrupted([bundle, *QUICK, "--json", str(file)], 1)
    assert (done.returncode, done.stdout) == (130, "")
    assert_one_error(done.stderr, "interrupted")
    assert not file.exists()
