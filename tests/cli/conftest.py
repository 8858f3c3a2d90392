"""Calling the command line, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgedl.cli.commands import cli

ROOT = Path(__file__).parents[2]

Edgedl = Callable[..., Result]
Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def edgedl() -> Edgedl:
    """`edgedl ARGUMENTS...` in this process; an unexpected exception fails the test."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def python() -> Python:
    """This interpreter in a process of its own, at the repository's root."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *(str(a) for a in arguments)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=120,
            check=False,
        )

    return run


def assert_one_error(stderr: str, message: str, hint: str | None = None) -> None:
    """The last thing on stderr is one `error:` line, and a `hint:` line or none."""
    lines = stderr.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    assert len(starts) == 1, stderr
    error, *rest = lines[starts[0] :]
    assert message in error
    assert len(rest) <= 1, stderr
    assert all(line.startswith("hint: ") for line in rest), stderr
    if hint is not None:
        assert rest, stderr
        assert hint in rest[0]
    assert "Traceback" not in stderr


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, watched."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def left_in(temporary: Path) -> list[str]:
    """What is left of ours: onnxruntime writes `.ses` when it is imported, torch a cache."""
    theirs = (".ses", "torchinductor_")
    return [p.name for p in temporary.iterdir() if not p.name.startswith(theirs)]


def listing(root: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
        for p in sorted(root.rglob("*"))
        if "__pycache__" not in p.parts
    }
