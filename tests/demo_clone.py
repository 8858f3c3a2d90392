"""A folder that looks like a clone after a short `make demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "benchmarks.demo", "--epochs", "1", "--launches", "2"]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the project's, run in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def make_clone(place: Path) -> Path:
    """Link the project's code into an empty folder and run the demo there."""
    for name in ("models", "benchmarks", "edgedl"):
        (place / name).symlink_to(ROOT / name)
    done = run(DEMO, place)
    assert done.returncode == 0, done.stderr[-3000:]
    (place / "demo-printed.txt").write_text(done.stdout)
    return place
