"""Virtual environments for peers, so that what they pull in meets nothing of edgedl's."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from edgedl.cli.terminal import say

REQUIREMENTS = Path(__file__).parent / "requirements"
# Environments that need the torch which edgedl's own has; a second copy is gigabytes.
BORROWING = ("executorch",)


@dataclass(frozen=True)
class Environment:
    """An interpreter, or why there is none."""

    python: str
    problem: str = ""


def pins(name: str) -> dict[str, str]:
    """Distributions and versions that an environment is made of."""
    lines = [line for file in _files(name) for line in file.read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


def _files(name: str) -> list[Path]:
    files = (REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}-no-deps.txt")
    return [file for file in files if file.is_file()]


def make_environment(name: str, folder: Path) -> Environment:
    """The environment of that name under a folder, made where its requirements are new.

    The empty name is the interpreter that runs this.
    """
    if not name:
        return Environment(sys.executable)
    root = folder / "environments" / name
    python, stamp = root / "bin" / "python", root / "installed.txt"
    wanted = "".join(file.read_text() for file in _files(name))
    if stamp.is_file() and stamp.read_text() == wanted:
        return Environment(str(python))
    say(f"== installing {name}")
    venv.EnvBuilder(clear=True, with_pip=True).create(root)
    for file in _files(name):
        alone = ("--no-deps",) if file.stem.endswith("-no-deps") else ()
        command = (str(python), "-m", "pip", "install", "--quiet",
                   "--disable-pip-version-check", *alone, "-r", str(file))  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return Environment("", f"its wheel doesn't install: {last_line(done.stderr)}")
    if name in BORROWING:
        _borrow(root)
    stamp.write_text(wanted)
    return Environment(str(python))


def _borrow(root: Path) -> None:
    """Put this interpreter's packages behind the environment's own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = root / "lib" / version / "site-packages"
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def last_line(text: str) -> str:
    """What a process said last, which is where the cause stands."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
