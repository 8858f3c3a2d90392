"""An export that ends early, by a full disk or a signal, leaves nothing but what was there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import ROOT, Edgedl, assert_one_error, left_in, listing
from tests.export.fake_source import FEATURES, dense_graph, lstm_graph, normal

resource = pytest.importorskip("resource")  # not on Windows


def saved(graph: onnx.ModelProto, folder: Path) -> Path:
    """An .onnx file of this graph."""
    onnx.save_model(graph, folder / "m.onnx")
    return folder / "m.onnx"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing past this size fails, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic"])
@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_can_not_be_written_leaves_the_old_bundle_and_nothing_else(
    edgedl: Edgedl, tmp_path: Path, temporary: Path, recipe: str, old: bool
) -> None:
    large = dense_graph(kernel=normal(0, FEATURES, 5000), bias=normal(1, 5000))
    source = saved(large, tmp_path)
    arguments = ("export", source, "-o", tmp_path / "m.bundle", "--force", "--recipe", recipe)
    if old:
        assert edgedl(*arguments, "--no-simplify").exit_code == 0
    before = listing(tmp_path)
    with largest_file(20_000):
        result = edgedl(*arguments, "--no-simplify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "File too large")
    assert listing(tmp_path) == before
    assert not left_in(temporary)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "edgedl-test", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user can't mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills(
    edgedl: Edgedl, small_disk: Path, tmp_path: Path, temporary: Path
) -> None:
    large = dense_graph(kernel=normal(0, FEATURES, 5000), bias=normal(1, 5000))
    source = saved(large, tmp_path)
    options = ("--recipe", "fp32", "--no-simplify")
    result = edgedl("export", source, "-o", small_disk / "m.bundle", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, "No space left on device", hint="free some space")
    assert not list(small_disk.iterdir())
    assert not left_in(temporary)


@pytest.mark.parametrize(
    ("recipe", "stage", "number"),
    [
        ("all", "onnx", signal.SIGINT),
        ("all", "convert", signal.SIGINT),
        ("all", "simplify", signal.SIGINT),
        ("all", "fp32", signal.SIGINT),
        ("all", "convert", signal.SIGTERM),  # timeout, a service that stops
        ("all", "fp32", signal.SIGHUP),  # a terminal that closes
        ("auto", "low-rank", signal.SIGTERM),
    ],
)
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, temporary: Path, recipe: str, stage: str, number: signal.Signals
) -> None:
    """A signal when the command line reports a stage: the next one is running then."""
    source = saved(lstm_graph(), tmp_path)
    command = [sys.executable, "-m", "edgedl", "export", str(source), "--recipe", recipe]
    child = subprocess.Popen(
        [*command, "-o", str(tmp_path / "m.bundle")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert child.stderr is not None
    said = []
    for line in child.stderr:
        said.append(line)
        if line.startswith(f"{stage} "):
            child.send_signal(number)
            break
    out, rest = child.communicate(timeout=60)
    stderr = "".join(said) + rest
    assert (child.returncode, out) == (128 + number, ""), stderr
    assert_one_error(stderr, "interrupted")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert not left_in(temporary)
    with pytest.raises(ProcessLookupError):  # its children are gone too
        os.killpg(child.pid, 0)
