"""Files that are there whole or not at all, and the record of a run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.training import TrainingError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    A block that fails, or a process that dies, leaves the old file as it was.

    Raises:
        TrainingError: The file system refuses, for instance because it is full.
    """
    # The suffix stays last: Keras picks its format by it.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise TrainingError(
            f"{path} can't be written: {error.strerror or error}",
            "make room, then run again (with --resume to keep finished epochs)",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def write_npz(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write compressed arrays atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def make_folder(path: Path) -> None:
    """Create an output folder before any work is spent on what goes there.

    Raises:
        TrainingError: It can't be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"folder {path} can't be created: {error.strerror or error}",
            "choose another one with --out",
        ) from error


def sha256(content: bytes) -> str:
    """The hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def run_record(
    command: str,
    config: Mapping[str, object],
    data: Mapping[str, object],
    metrics: Mapping[str, object],
    seconds: Mapping[str, float],
    modules: Sequence[str],
) -> dict[str, object]:
    """What a `record.json` says: how a model came to be, for whoever asks later.

    Args:
        command: What was typed.
        config: Every setting that the weights depend on, the seed among them.
        data: Where the data came from, with its SHA-256.
        metrics: The final quality.
        seconds: How long things took.
        modules: Imported modules whose versions matter.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": dict(config),
        "data": dict(data),
        "metrics": dict(metrics),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "versions": {
            "python": platform.python_version(),
            **{name: sys.modules[name].__version__ for name in modules if name in sys.modules},
        },
        "machine": {
            "system": platform.platform(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
        },
    }
