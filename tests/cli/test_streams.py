"""stdout and stderr that are closed or full, and an interrupt before the command line is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from edgedl.bench.plan import Row, encode_rows
from edgedl.bench.table import Table
from edgedl.cli.terminal import print_table
from edgedl.runtime.protocol import Case
from tests.bench.measurements import measurement
from tests.cli.conftest import ROOT, assert_one_error
from tests.export.fake_source import dense_graph

pytest.importorskip("resource")  # not on Windows, whose shell closes no streams


# As a person's shell has it: Python keeps what it writes to a pipe or a file until it is much.
BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
BUFFERED["PYTHONPATH"] = str(ROOT)


def _export(folder: Path, redirection: str) -> subprocess.CompletedProcess[str]:
    """`edgedl export` in a shell."""
    onnx.save(dense_graph(), folder / "m.onnx")
    words = f"-m edgedl export m.onnx -o m.bundle --recipe fp32 --no-simplify {redirection}"
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} {words}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=BUFFERED,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_take_nothing_and_hurt_nothing(tmp_path: Path, redirection: str) -> None:
    done = _export(tmp_path, redirection)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.bundle" / "manifest.json").is_file()
    assert (done.stdout == "") is (">&- " in f"{redirection} " and redirection[0] != "2")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_can_not_be_shown_is_an_error(tmp_path: Path) -> None:
    done = _export(tmp_path, ">/dev/full")
    assert done.returncode == 1
    assert_one_error(done.stderr, "No space left on device", hint="free some space")


def test_a_reader_that_leaves_ends_it_without_a_word(classifier_bundle: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "edgedl", "inspect", str(classifier_bundle)]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, env=BUFFERED, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_interrupt_while_it_starts(tmp_path: Path) -> None:
    """In the middle of the imports, which a module of this name makes slow."""
    (tmp_path / "click.py").write_text(
        "print('started', flush=True)\nimport time\ntime.sleep(30)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "edgedl", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert_one_error(stderr, "interrupted")


def test_a_name_is_neither_markup_nor_a_terminals_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(Table(("node",), (("a[/red]b[0]\x1b[31m",),)))
    assert "a[/red]b[0]?[31m" in capsys.readouterr().out


def test_a_narrow_terminal_shows_every_cell_whole(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    case = Case("x.bundle", "a-variant-of-a-long-name")
    (tmp_path / "rows.jsonl").write_bytes(encode_rows([Row(case, (measurement(case),) * 2)]))
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "edgedl", "bench", "--from", str(tmp_path / "rows.jsonl")],
        stdout=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "NO_COLOR": "1"},
    )
    os.close(theirs)
    assert child.wait(timeout=60) == 0
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "…" not in shown
    for word in ("95 % interval", "needs 662 samples", "per second", "memory"):
        assert word in shown
    tables = [line for line in shown.splitlines() if line.startswith(("case", "a-variant"))]
    assert len(tables) >= 4
    assert all(len(line) <= 62 for line in tables)  # bold, and its end
